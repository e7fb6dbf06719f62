"""Hold comparisons as columns of numbers, 42 bytes each: as objects they take ten times as much."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotate.data.datasets.preferences import Comparison
from common.winners import WINNERS

_WINNERS = list(WINNERS)


class ComparisonTable(Sequence[Comparison]):
    """Read as a list of comparisons; each is made when it is asked for."""

    def __init__(self, comparisons: Iterable[Comparison]) -> None:
        self._prompts, self._a, self._b, self._authors = array("q"), array("q"), array("q"), array("q")
        self._winners, self._strengths, self._weights = array("b"), array("b"), array("d")
        for c in comparisons:
            self._prompts.append(c.prompt_id)
            self._a.append(c.completion_a)
            self._b.append(c.completion_b)
            self._authors.append(c.author)
            self._winners.append(_WINNERS.index(c.winner))
            self._strengths.append(c.strength or 0)
            self._weights.append(c.weight)

    @property
    def completions(self) -> NDArray[np.int64]:
        """Return the ids of all answers that were compared, in order, each once."""
        return np.unique(np.concatenate([np.array(self._a, dtype=np.int64), np.array(self._b, dtype=np.int64)]))

    def __len__(self) -> int:
        return len(self._prompts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        ends = self._a[index], self._b[index]
        winner, strength = _WINNERS[self._winners[index]], self._strengths[index] or None
        return Comparison(self._prompts[index], *ends, winner, strength, self._authors[index], self._weights[index])
