"""Read what DPO and KTO learn from as examples: answers to their own prompts, and for KTO to others'."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from training.recipes.preference.preference_data import Judgements
from training.recipes.sft.examples import Example


@dataclass(frozen=True)
class AnswerExamples(Sequence[Example]):
    """Read examples one at a time. `places` (S, 2): of which completions each has the prompt, and the answer."""

    data: Judgements
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        asking, answering = self.places[index].tolist()
        prompt, answer = self.data.prompts[asking], self.data.completions[answering]
        return Example("", prompt + answer, [False] * len(prompt) + [True] * len(answer), int(index))

    @functools.cached_property
    def answer_counts(self) -> np.ndarray:
        """Return (S,) the tokens of each answer."""
        return _lengths(self.data.completions)[self.places[:, 1]]

    @functools.cached_property
    def token_counts(self) -> np.ndarray:
        """Return (S,) the tokens of each, prompt and answer."""
        return _lengths(self.data.prompts)[self.places[:, 0]] + self.answer_counts

    @property
    def lengths(self) -> list[int]:
        """Return the same as a list."""
        lengths: list[int] = self.token_counts.tolist()
        return lengths


def _lengths(lists: Sequence[list[int]]) -> np.ndarray:
    stored = getattr(lists, "lengths", None)
    return np.array([len(numbers) for numbers in lists] if stored is None else stored, dtype=np.int64)


@dataclass(frozen=True)
class AnswerPlaces:
    """Say where the answers are among the examples: those to their own prompts first, once each."""

    places: np.ndarray  # (S, 2)
    own: np.ndarray  # (C,) the completions to their own prompts, in their order

    def of(self, completions: np.ndarray) -> np.ndarray:
        """Return the examples of completions to their own prompts, in the same shape."""
        return np.searchsorted(self.own, completions)


def places_of(completions: np.ndarray, elsewhere: np.ndarray | None = None) -> AnswerPlaces:
    """Return the places of these completions (any order, repeated or not), and behind them those of `elsewhere` (T, 2),
    answers to other prompts."""
    own = np.unique(completions)
    places = np.stack([own, own], 1)
    return AnswerPlaces(places if elsewhere is None else np.concatenate([places, elsewhere]), own)
