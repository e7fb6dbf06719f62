"""Let threads take turns at the interpreter more often than Python does by itself.

Whoever has a lock of the database lets go of the interpreter at each statement. Another thread that computes would keep
it for 5 ms each time, and a transaction of ten statements last for fifty, with all who wait for its locks.
"""

from __future__ import annotations

import sys

SECONDS = 0.0005


def shorten() -> None:
    sys.setswitchinterval(SECONDS)
