"""Bound how much one source of a corpus may hold, and how long a hub may keep a run waiting.

Files and the streams of a hub have the bounds of an import: a small file can unpack to more than a disk, and a stream
may have no end.
"""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, NoReturn, TypeVar

from annotate.data.rows.row_files import LARGEST_FILE, LARGEST_IMPORT
from annotate.data.rows.row_source import LONGEST_LINE, LONGEST_VOID
from training.core.run_directory import RecipeFailure, Row

MOST_ROWS = 100_000_000  # of one source: rows without text take no bytes, and pass one by one all the same
LONGEST_WAIT = 300.0  # seconds for one row of a hub, or for its first answer
T = TypeVar("T")
__all__ = ["LARGEST_FILE", "LARGEST_IMPORT", "LONGEST_LINE", "MOST_ROWS"]


def too_large(name: str, limit: str) -> RecipeFailure:
    return RecipeFailure("file_too_large", f"{name} has more than {limit}.", "Split the file, and enter its parts.")


class TooSlow(BaseException):
    """A hub that sends nothing, or so little at a time that a row never comes to its end.

    No Exception: libraries try anew on those, without an end.
    """


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TooSlow in what takes longer, again each second until it ends.

    By a signal, which reaches the main thread alone; in another one nothing is bounded.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> NoReturn:
        raise TooSlow(f"Nothing came within {seconds:g} seconds.")

    before = signal.signal(signal.SIGALRM, ring)
    other_timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *other_timer)  # of a test's own time-out, say


def streamed(rows: Iterable[Row], name: str, n_done: int) -> Iterator[Row]:
    """Yield the rows of a hub's stream after the first `begun`.

    Raises RecipeFailure when there are more than MOST_ROWS, when this attempt is sent more than LARGEST_IMPORT bytes of
    text, or more than LONGEST_VOID in one row; TooSlow when a row does not come within LONGEST_WAIT.
    """
    source, count, size = iter(rows), n_done, 0
    while (row := _next_within(source, LONGEST_WAIT)) is not None:
        count += 1
        row_bytes = sum(len(value.encode(errors="replace")) for value in row.values() if isinstance(value, str))
        size += row_bytes
        if row_bytes > LONGEST_VOID:
            raise _endless(name, f"{LONGEST_VOID:,} bytes in one row")
        if count > MOST_ROWS:
            raise _endless(name, f"{MOST_ROWS:,} rows")
        if size > LARGEST_IMPORT:
            raise _endless(name, f"{LARGEST_IMPORT:,} bytes")
        yield row


def _next_within(rows: Iterator[Row], seconds: float) -> Row | None:
    with within(seconds):
        return next(rows, None)


def _endless(name: str, limit: str) -> RecipeFailure:
    remedy = "Set max_documents, or use a smaller config or split."
    return RecipeFailure("hub_too_large", f"{name} has more than {limit}.", remedy)


class Unpacked(io.RawIOBase):
    """Hold what comes out of a packed file, counted. Raises RecipeFailure beyond `most` bytes."""

    def __init__(self, packed: IO[bytes], name: str, most: int) -> None:
        super().__init__()
        self._packed, self._name, self._most, self._count = packed, name, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._packed.read(len(buffer))
        self._count += len(part)
        if self._count > self._most:
            raise too_large(self._name, f"{self._most:,} bytes, unpacked")
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._packed.close()
        super().close()


def text_lines(stream: IO[str], name: str) -> Iterator[str]:
    """Return the lines; one longer than LONGEST_LINE in pieces. Raises RecipeFailure for more than MOST_ROWS."""
    return _bounded(iter(lambda: stream.readline(LONGEST_LINE), ""), name)


def json_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines; of one longer than LONGEST_LINE its beginning, which is no JSON, and the rest is passed over.

    Raises RecipeFailure for a line of more than LONGEST_VOID bytes, and for more than MOST_ROWS lines.
    """
    for line in _bounded(iter(lambda: stream.readline(LONGEST_LINE), b""), name):
        yield line
        length = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(LONGEST_LINE)):
            length += len(line)
            if length > LONGEST_VOID:
                raise too_large(name, f"{LONGEST_VOID:,} bytes in one line")


def _bounded(lines: Iterator[T], name: str) -> Iterator[T]:
    for count, line in enumerate(lines, start=1):
        if count > MOST_ROWS:
            raise too_large(name, f"{MOST_ROWS:,} lines")
        yield line
