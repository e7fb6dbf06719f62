"""Hold the token ids of answers and their prompts, read from files when they are asked for, and plan their batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.core.token_table import ListsEndToEnd, NumberLists
from training.recipes.reward.answers.number_index import NumberIndex

Numbers = NDArray[np.integer[Any]]


class Prompts(Mapping[int, list[int]]):
    """Read each prompt's token ids from where the first of its completions has them."""

    def __init__(self, stored: NumberLists, prompt_of: Numbers) -> None:
        self._stored = stored
        self._rows = first_rows(prompt_of)
        self._row_of = NumberIndex(prompt_of[self._rows])

    def __getitem__(self, prompt: int) -> list[int]:
        ids: list[int] = self._stored[int(self._rows[self._row_of[prompt]])]
        return ids

    def __iter__(self) -> Iterator[int]:
        return iter(self._row_of)

    def __len__(self) -> int:
        return len(self._row_of)

    @property
    def lengths(self) -> Numbers:
        """Return the length of each prompt, in the order of their numbers."""
        lengths: Numbers = self._stored.lengths[self._rows]
        return lengths


class Batches(ListsEndToEnd):
    """Hold lists of rows end to end."""

    def __init__(self, rows: Numbers, bounds: Numbers) -> None:
        self._rows, self._bounds = rows, bounds

    def _between(self, start: int, end: int) -> list[int]:
        rows: list[int] = self._rows[start:end].tolist()
        return rows


@dataclass(frozen=True)
class Sequences:
    """Token ids of every completion (N of them) and of its prompt, and the prompt's number.

    Both may be read from files; lengths are in memory.
    """

    prompts: Mapping[int, list[int]]
    completions: Sequence[list[int]]
    prompt_of: Sequence[int] | Numbers

    @cached_property
    def _places(self) -> Numbers:
        """Return (N,) the place of each completion's prompt among all prompts, in the order of their numbers."""
        return np.unique(np.asarray(self.prompt_of, dtype=np.int64), return_inverse=True)[1].astype(np.int32)

    @cached_property
    def _prompt_lengths(self) -> Numbers:
        if isinstance(self.prompts, Prompts):
            return self.prompts.lengths
        return np.array([len(self.prompts[prompt]) for prompt in sorted(set(self.prompt_of))], dtype=np.int64)

    @cached_property
    def lengths(self) -> Numbers:
        """Return the length of each completion."""
        stored = self.completions
        lengths = stored.lengths if isinstance(stored, NumberLists) else [len(ids) for ids in stored]
        return np.array(lengths, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.completions)

    def by_prompt(self, rows: list[int]) -> dict[int, list[int]]:
        grouped: dict[int, list[int]] = {}
        for row in rows:
            grouped.setdefault(int(self.prompt_of[row]), []).append(row)
        return grouped

    def tokens(self, rows: list[int]) -> int:
        """Return how many tokens these rows forward: each prompt once for all its completions."""
        return int(self._prompt_lengths[np.unique(self._places[rows])].sum() + self.lengths[rows].sum())

    def some(self, count: int) -> list[list[int]]:
        """Return the first answers of so many prompts, each after its prompt."""
        rows = first_rows(np.asarray(self.prompt_of))[:count].tolist()
        return [self.prompts[self.prompt_of[row]] + self.completions[row] for row in rows]

    def batches(self, size: int, tokens: int, rows: list[int] | None = None) -> Batches:
        """Return rows in batches of about `size` completions and at most about `tokens` tokens with padding.

        All completions of a prompt together, prompts of a length beside each other, the longest first: what does not
        fit into memory says so at once.
        """
        chosen = np.arange(len(self)) if rows is None else np.array(rows, dtype=np.int64)
        chosen = chosen[np.argsort(self._places[chosen], kind="stable")]
        prompts, starts, counts = np.unique(self._places[chosen], return_index=True, return_counts=True)
        work = self._prompt_lengths[prompts] + np.add.reduceat(self.lengths[chosen], starts, dtype=np.int64)
        order = np.lexsort((prompts, -work))
        bounds = [0]
        filled = widest = groups = 0
        for group in order:
            count = int(counts[group])
            if groups and filled + count <= size and (groups + 1) * widest <= tokens:
                filled, groups = filled + count, groups + 1
            else:
                if groups:
                    bounds.append(bounds[-1] + filled)
                filled, widest, groups = count, int(work[group]), 1
        begins = np.cumsum(counts[order]) - counts[order]
        places = np.repeat(starts[order] - begins, counts[order]) + np.arange(len(chosen))
        return Batches(chosen[places].astype(np.int32), np.array([*bounds, len(chosen)] if groups else bounds))


def first_rows(prompt_of: Numbers) -> Numbers:
    """Return (P,) the first row of each prompt, in the order of the prompts' numbers."""
    return np.unique(prompt_of, return_index=True)[1].astype(np.int32)
