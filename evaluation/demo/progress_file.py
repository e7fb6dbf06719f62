"""Tell the pages what the demo does now: a file for each project below ASSAY_DATA/demo, and a lock beside it.

The demo holds the lock while it runs. The system gives a lock back however its process ends, so that no page says of a
demo that was killed that it is at work; its file stays then, and says where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from django.conf import settings

from common import atomic_files
from common.file_lock import try_lock
from evaluation.demo.plan import TurnStopped

PATIENCE = 10.0  # seconds for a demo that was just ended to let go
EVERY_SECONDS = 2.0  # between two writes about one stage


@dataclass(frozen=True)
class DemoProgress:
    """The stage under way, the `number`th of `of`; `ends_at` is when the whole demo should be done, in ISO 8601."""

    title: str
    number: int
    of: int
    ends_at: str
    is_running: bool = False

    @property
    def end(self) -> datetime:
        return datetime.fromisoformat(self.ends_at)


Tell = Callable[[str, int, int, datetime], None]  # title, number, of, ends_at: as in DemoProgress


@contextmanager
def telling(slug: str) -> Iterator[Tell]:
    """Hold the project's lock and give a function that writes its file; take the file away when the block succeeds.

    Raises TurnStopped where another demo of the project runs.
    """
    file, lock = _files(slug)
    file.parent.mkdir(parents=True, exist_ok=True)
    last = ("", 0.0)

    def tell(title: str, number: int, of: int, ends_at: datetime) -> None:
        nonlocal last
        if title == last[0] and time.monotonic() - last[1] < EVERY_SECONDS:
            return
        last = (title, time.monotonic())
        with suppress(OSError):  # a full disk must not end the demo
            _write(file, DemoProgress(title, number, of, ends_at.isoformat()))

    with lock.open("a") as lock_file:
        _take(lock_file, slug)
        yield tell
        file.unlink(missing_ok=True)


def read(slug: str) -> DemoProgress | None:
    """Return how far the project's demo has come; None where none is under way and none was cut short."""
    file, lock = _files(slug)
    try:
        progress = DemoProgress(**json.loads(file.read_text(encoding="utf-8")))
        with lock.open() as lock_file:
            is_running = not try_lock(lock_file, shared=True)
    except (OSError, ValueError, TypeError):  # none, or of another version
        return None
    return replace(progress, is_running=is_running)


def _files(slug: str) -> tuple[Path, Path]:
    folder = settings.DATA_DIR / "demo"
    return folder / f"{slug}.json", folder / f"{slug}.lock"


def _write(file: Path, progress: DemoProgress) -> None:
    """Write the file in one step: whoever reads meanwhile finds the old one whole."""
    atomic_files.write_text(file, json.dumps(asdict(progress)), is_synced=False)


def _take(lock: IO[str], slug: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not try_lock(lock):
        if time.monotonic() > deadline:
            raise TurnStopped(f"Another demo of the project {slug} is running here: end it, or name another --project.")
        time.sleep(0.1)
