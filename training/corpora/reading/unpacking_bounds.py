"""How much one file of a corpus may unpack to: the bounds of an import. A small file can hold more than a disk."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any, TypeVar

from annotate.data.rows.row_files import LARGEST_FILE, LARGEST_IMPORT, LONGEST_LINE, LONGEST_VOID
from training.core.run_directory import RecipeFailure

MOST_ROWS = 100_000_000  # of one file: rows without text take no bytes, and pass one by one all the same
T = TypeVar("T")
__all__ = ["LARGEST_FILE", "LARGEST_IMPORT", "LONGEST_LINE", "MOST_ROWS"]


def too_large(name: str, what: str) -> RecipeFailure:
    return RecipeFailure("file_too_large", f"{name} holds more than {what}.", "Split the file, and name its parts.")


class Unpacked(io.RawIOBase):
    """What comes out of a packed file, counted. Raises RecipeFailure beyond `most` bytes."""

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
    """The lines; one longer than LONGEST_LINE in pieces. Raises RecipeFailure for more than MOST_ROWS."""
    return _counted(iter(lambda: stream.readline(LONGEST_LINE), ""), name)


def json_lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    """The lines; of one longer than LONGEST_LINE its beginning, which is no JSON, and the rest is passed over.

    Raises RecipeFailure for a line of more than LONGEST_VOID bytes, and for more than MOST_ROWS lines.
    """
    for line in _counted(iter(lambda: stream.readline(LONGEST_LINE), b""), name):
        yield line
        passed = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(LONGEST_LINE)):
            passed += len(line)
            if passed > LONGEST_VOID:
                raise too_large(name, f"{LONGEST_VOID:,} bytes in one line")


def _counted(lines: Iterator[T], name: str) -> Iterator[T]:
    for count, line in enumerate(lines, start=1):
        if count > MOST_ROWS:
            raise too_large(name, f"{MOST_ROWS:,} lines")
        yield line
