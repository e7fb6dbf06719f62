"""Order the rows of text of a run by its seed and the row's number alone.

Nothing is kept between steps, so that a resumed run reads on as if it had not stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.recipes.pretrain import packing
from training.recipes.pretrain.token_files import TokenFile


@dataclass(frozen=True)
class TextRows:
    """Rows of one corpus in an order that is another in each pass.

    `replay`: that share of them gives way to rows of a second corpus, and is not made up for.
    """

    file: TokenFile
    length: int
    seed: int
    replay: TokenFile | None = None
    replay_share: float = 0.0

    @property
    def count(self) -> int:
        """Count the rows in one pass."""
        return packing.count_rows(len(self.file.ids), self.length)

    def take(self, numbers: Sequence[int]) -> tuple[np.ndarray, list[np.random.Generator]]:
        """Return (B, length + 1) of the rows that come `numbers`-th in the run, and a generator for each."""
        draws = [np.random.default_rng((self.seed, number)) for number in numbers]
        return np.stack([self._row(n, d) for n, d in zip(numbers, draws, strict=True)]), draws

    def _row(self, number: int, draw: np.random.Generator) -> np.ndarray:
        if self.replay is not None and draw.random() < self.replay_share:
            rows = packing.count_rows(len(self.replay.ids), self.length)
            return packing.row(self.replay.ids, int(draw.integers(rows)), self.length)
        turn, index = divmod(number, self.count)
        return packing.row(self.file.ids, packing.shuffled(index, self.count, self.seed + turn), self.length)


def validation_rows(file: TokenFile, length: int, end: int) -> list[np.ndarray]:
    """Return all of a held-out file in rows of (length + 1,), the last one filled with end tokens."""
    ids = np.asarray(file.ids, dtype=np.int64)
    starts = range(0, len(ids) - 1, length)
    cut = [ids[start : start + length + 1] for start in starts]
    return [np.concatenate([row, np.full(length + 1 - len(row), end)]) for row in cut]
