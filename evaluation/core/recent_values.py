"""Keep what a process computed last, while it is still true."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Recent:
    """The `most` values used last, each under its key with the state that it was computed from. Threads share it."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, tuple[str, Any]] = OrderedDict()
        self._guard = threading.Lock()

    def get(self, key: Hashable, state: str) -> Any | None:
        """Return None when nothing is kept, or when it is of another state."""
        kept_state, value = self._kept.get(key, ("", None))
        return value if kept_state == state else None

    def last(self, key: Hashable) -> Any | None:
        """Return the last value, of whatever state."""
        return self._kept.get(key, ("", None))[1]

    def put(self, key: Hashable, state: str, value: Any) -> None:
        with self._guard:
            self._kept[key] = (state, value)
            self._kept.move_to_end(key)
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
