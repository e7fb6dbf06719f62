"""Say now and then what a long command is at."""

from __future__ import annotations

import time
from collections.abc import Callable

_EVERY = 5.0  # seconds


class SpokenProgress:
    """Write what it is called with, unless it wrote within the last seconds: short work says nothing."""

    def __init__(
        self, write: Callable[[str], object], *, every: float = _EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write, self._every, self._clock = write, every, clock
        self._written_at = clock()

    def __call__(self, text: str) -> None:
        if self._clock() >= self._written_at + self._every:
            self._written_at = self._clock()
            self._write(f"… {text}")
