"""Note how long each writer holds SQLite's one write lock, and who held it for too long.

Nobody else writes meanwhile, so that whatever is computed, read from a file or asked of another server under the lock
stops everybody's work. A hold longer than the option `slow_write_seconds` is logged with its writer and its place, and
with how long it computed: the rest it waited for the disk, or for a processor that others used.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from types import FrameType

from django.conf import settings

from annotate.core.db.connections import writer

log = logging.getLogger("assay.holds")
_ROOT, _HERE = str(settings.BASE_DIR), str(Path(__file__).resolve().parent)
_OWN = tuple(f"{_ROOT}/{app}/" for app in ("common", "annotate", "training", "evaluation", "tests", "benchmarks"))


def place() -> str:
    """Return the innermost line of our own that is under way: `annotate/arena/battles/actions.py:43 start_battle`."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_own(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return "no line of our own"
    return f"{frame.f_code.co_filename[len(_ROOT) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}"


def _is_own(file: str) -> bool:
    """Return whether it is ours, and not of this backend, through which all writing goes."""
    return file.startswith(_OWN) and not file.startswith(_HERE)


def note(seconds: float, computing: float, limit: float, location: str) -> None:
    """Log a hold of more than `limit` seconds that began at `location`; a `limit` of 0 logs none, nor do migrations."""
    if limit and seconds > limit and sys.argv[1:2] != ["migrate"]:
        details = (writer(), 1000 * seconds, 1000 * computing, location)
        log.warning("%s held the write lock for %.0f ms, %.0f ms of them computing, from %s on", *details)
