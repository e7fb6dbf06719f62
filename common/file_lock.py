"""Lock files with locks that the system gives back however their holder ends, so that none is ever left behind."""

from __future__ import annotations

import fcntl
from typing import IO, Any


def try_lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Lock an open file without waiting; False where another process holds it. It is let go when the file is closed."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(file: IO[Any]) -> None:
    """Lock an open file, once no other process or thread holds it by a handle of its own."""
    fcntl.flock(file, fcntl.LOCK_EX)
