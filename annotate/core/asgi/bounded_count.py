"""Count what goes on at once in this process: of one person, of one network and in all."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from annotate.core.visitors import Networks


@dataclass
class BoundedCount:
    """Say how many may go on at once, and how many do; for threads and for event loops."""

    of_one: int
    of_network: int
    """Of a network as large as one address; a wider one has its factor of it."""
    most: int
    running: Counter[str] = field(default_factory=Counter)
    """By person and network; "" counts all."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def has_room(self, person: str, networks: Networks = ()) -> bool:
        """Return whether one more of this person ("" where nothing tells) and these networks may begin."""
        with self._lock:
            return self._has_room(self._bounds(person, networks))

    @contextmanager
    def counted(self, person: str, networks: Networks = ()) -> Iterator[bool]:
        """Count one more within it. Yields False, and counts nothing, where there is no room."""
        bounds = self._bounds(person, networks)
        with self._lock:
            has_room = self._has_room(bounds)
            if has_room:
                self.running.update(bounds.keys())
        try:
            yield has_room
        finally:
            if has_room:
                self._leave(bounds)

    def _bounds(self, person: str, networks: Networks) -> dict[str, int]:
        """Return how many there may be at most, by what they are counted. One subscriber with many networks never has
        all."""
        of_networks = {network: min(self.of_network * factor, self.most // 2) for network, factor in networks}
        return {**of_networks, person: self.of_one, "": self.most}

    def _has_room(self, bounds: dict[str, int]) -> bool:
        return all(self.running[key] < bound for key, bound in bounds.items())

    def _leave(self, bounds: dict[str, int]) -> None:
        with self._lock:
            self.running.subtract(bounds.keys())
            for key in bounds:
                if not self.running[key]:
                    del self.running[key]
