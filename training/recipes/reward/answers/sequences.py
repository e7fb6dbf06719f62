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

    @classmethod
    def chained(cls, parts: Sequence[Batches]) -> Batches:
        """Return the lists of all of these, one after the other."""
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(np.concatenate([part._rows for part in parts]), np.concatenate([[0], np.cumsum(lengths)]))

    def _between(self, start: int, end: int) -> list[int]:
        rows: list[int] = self._rows[start:end].tolist()
        return rows

    @property
    def lengths(self) -> Numbers:
        """Return how many rows each list has."""
        return np.diff(self._bounds)

    @property
    def firsts(self) -> Numbers:
        """Return the first row of each list."""
        return self._rows[self._bounds[:-1]]

    def totals(self, of_rows: Numbers) -> Numbers:
        """Return the sum over each list of these numbers (N,) of its rows."""
        return np.add.reduceat(of_rows[self._rows], self._bounds[:-1], dtype=np.int64)

    def in_order(self, order: Numbers) -> Batches:
        """Return the lists of these numbers, in this order."""
        counts = self.lengths[order]
        bounds = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(self._bounds[:-1][order] - bounds[:-1], counts) + np.arange(bounds[-1])
        return Batches(self._rows[places], bounds)

    def joined(self, bounds: Sequence[int]) -> Batches:
        """Return longer lists: each of the lists from one of these bounds to the next."""
        reached = self._bounds[list(bounds)]
        return Batches(self._rows[: reached[-1]], reached)


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
        groups = self.groups(np.arange(len(self)) if rows is None else np.array(rows, dtype=np.int64))
        prompts = self._places[groups.firsts]
        work = self._prompt_lengths[prompts] + groups.totals(self.lengths)
        order = np.lexsort((prompts, -work))
        bounds = [0]
        filled = widest = 0
        for number, (count, tokens_of_one) in enumerate(zip(groups.lengths[order], work[order], strict=True)):
            inside = number - bounds[-1]
            if inside and (filled + count > size or (inside + 1) * widest > tokens):
                bounds.append(number)
                inside = 0
            filled, widest = (filled + count, widest) if inside else (count, tokens_of_one)
        return groups.in_order(order).joined([*bounds, len(order)] if len(order) else bounds)

    def groups(self, rows: Numbers) -> Batches:
        """Return these rows by prompt, in the order of the prompts' numbers."""
        rows = rows[np.argsort(self._places[rows], kind="stable")]
        starts = np.unique(self._places[rows], return_index=True)[1]
        return Batches(rows.astype(np.int32), np.append(starts, len(rows)))


def first_rows(prompt_of: Numbers) -> Numbers:
    """Return (P,) the first row of each prompt, in the order of the prompts' numbers."""
    return np.unique(prompt_of, return_index=True)[1].astype(np.int32)
