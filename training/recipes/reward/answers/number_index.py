"""Find the row of a number: 12 bytes for each, where a dict of Python's takes a hundred."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class NumberIndex(Mapping[int, int]):
    """Map each of these numbers to its row, the first one where a number comes twice."""

    def __init__(self, numbers: NDArray[np.integer[Any]]) -> None:
        rows = np.argsort(numbers, kind="stable")
        self._numbers = array("q", numbers[rows].astype(np.int64).tobytes())
        self._rows = rows.astype(np.int32)

    def __getitem__(self, number: int) -> int:
        place = bisect_left(self._numbers, number)
        if place == len(self._numbers) or self._numbers[place] != number:
            raise KeyError(number)
        return int(self._rows[place])

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)
