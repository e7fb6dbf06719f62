"""Collapse votes into counts: (model shown as A) × (model shown as B) × (label)."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from common.winners import WINNERS

# The axis of labels. `both_bad` is a tie about quality (neither was better), as in the field's leaderboards.
LABELS = WINNERS


@dataclass(frozen=True)
class Tally:
    """Count votes by pair and label. `cells` (M, M, 4): how often A was `models[i]`, B was `models[j]` and the label
    was `LABELS[k]`."""

    models: tuple[Any, ...]  # names or ids, anything hashable
    cells: np.ndarray

    @property
    def wins(self) -> np.ndarray:
        """Return (M, M): how often the model of the row beat the model of the column."""
        return self.cells[:, :, 0] + self.cells[:, :, 1].T

    @property
    def ties(self) -> np.ndarray:
        """Return (M, M), symmetric: ties and both-bads of a pair."""
        level = self.cells[:, :, 2] + self.cells[:, :, 3]
        return level + level.T

    @property
    def battles(self) -> np.ndarray:
        """Return (M,): votes in which each model took part."""
        return (self.wins + self.wins.T + self.ties).sum(axis=1)

    @property
    def votes(self) -> int:
        return int(self.cells.sum())

    @property
    def a_wins_share(self) -> float | None:
        """Return, of the votes that chose a side, the share that chose the first shown: 0.5 when position does not
        matter."""
        a, b = self.cells[:, :, 0].sum(), self.cells[:, :, 1].sum()
        return float(a / (a + b)) if a + b else None


def tally_votes(model_a: Sequence[Hashable], model_b: Sequence[Hashable], winner: Sequence[str]) -> Tally:
    """Tally votes given by the models' names. Raises ValueError on an unknown label or a model against itself."""
    if not len(model_a) == len(model_b) == len(winner):
        raise ValueError(f"a vote needs all of A, B and winner: got {len(model_a)}, {len(model_b)}, {len(winner)}.")
    return tally_totals(zip(model_a, model_b, winner, repeat(1)))


def tally_totals(totals: Iterable[tuple[Hashable, Hashable, str, int]]) -> Tally:
    """Tally (model A, model B, winner, how many votes) rows, as a database groups them. Models in order of meeting."""
    rows = list(totals)
    models = tuple(dict.fromkeys(model for a, b, _, _ in rows for model in (a, b)))
    index_by_model = {model: index for index, model in enumerate(models)}
    code = {label: index for index, label in enumerate(LABELS)}
    unknown = sorted({str(row[2]) for row in rows if row[2] not in code})
    if unknown:
        raise ValueError(f"unknown winner {unknown[0]!r}: use one of {', '.join(LABELS)}.")
    a, b, label, counts = (
        np.array(column, dtype=np.int64).reshape(-1)
        for column in (
            [index_by_model[row[0]] for row in rows],
            [index_by_model[row[1]] for row in rows],
            [code[row[2]] for row in rows],
            [row[3] for row in rows],
        )
    )
    return Tally(models, tally_indices(a, b, label, len(models), counts))


def tally_indices(
    a: np.ndarray, b: np.ndarray, label: np.ndarray, size: int, counts: np.ndarray | None = None
) -> np.ndarray:
    """Return the (size, size, 4) cells of votes given as indices of models and of LABELS; one pass of bincount.

    `counts` says how many votes each entry stands for (1 without it). Raises ValueError on an index out of range or
    a model against itself.
    """
    for name, values, top in (("model_a", a, size), ("model_b", b, size), ("winner", label, len(LABELS))):
        if values.size and (values.min() < 0 or values.max() >= top):
            raise ValueError(f"{name} has an index outside 0..{top - 1}.")
    if np.any(a == b):
        raise ValueError("a model cannot be compared with itself; leave such votes out.")
    flat, shape = (a * size + b) * len(LABELS) + label, (size, size, len(LABELS))
    return np.bincount(flat, weights=counts, minlength=math.prod(shape)).reshape(shape).astype(float)
