"""The bytes of an uploaded file, unpacked and read within bounds, and why a file is refused as unreadable. Pure."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, BinaryIO, NamedTuple, cast

LONGEST_LINE = 4_000_000
LONGEST_VOID = 100_000_000  # bytes of one line: else a small packed file could keep its reader for hours
MOST_HEAD = 50  # lines
_GZIP, PARQUET = b"\x1f\x8b", b"PAR1"


class UnreadableFile(ValueError):
    """The file as a whole is not what it should be; the message says so and what would help."""


class TooLarge(UnreadableFile):
    pass


class FileRow(NamedTuple):
    """Hold one row of a file, or the `problem` that stands in its place. `line` is the line of a text file, or the row
    of a list or a Parquet file, counted from 1. `position` is how many bytes of the file, as it was given, are read:
    about, but for plain JSON lines."""

    line: int
    row: dict[str, Any]
    problem: str = ""
    position: int = 0


def printable(text: str, longest: int = 400) -> str:
    """Return what was said about a file, which may quote it, as a page, an answer and a database can hold it."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:longest]


class Source:
    """A file, unpacked as it is read, up to a bound: a small gzip file could hold more than a disk does."""

    def __init__(self, file: BinaryIO, name: str, largest: int) -> None:
        self.file, self.largest, self.read_so_far = file, largest, 0
        self.is_packed = _peek(file, 2) == _GZIP
        self.plain = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if self.is_packed else file
        self.name = name.removesuffix(".gz") if self.is_packed else name
        self.begins = _peek(self.plain, 64)

    def readline(self) -> bytes:
        return self._count(self.plain.readline(LONGEST_LINE + 1))

    def peek(self, n: int) -> bytes:
        """Return the first bytes of a file of which nothing is read yet."""
        return _peek(self.plain, n)

    def read(self, n: int) -> bytes:
        return self._count(self.plain.read(n))

    def pass_rest_of(self, line: bytes) -> None:
        """Skip what `readline` left of a line that nobody can use, without holding it."""
        began, part = self.read_so_far, line
        while part and not part.endswith(b"\n"):
            part = self.readline()
            self.check_void(began, LONGEST_VOID)

    def check_void(self, since: int, most: int) -> None:
        if self.read_so_far - since > most:
            raise TooLarge(f"There is no row within {most:,} bytes; remove what is not a row.")

    def seek(self, position: int) -> None:
        self.plain.seek(position)
        self.read_so_far = position

    @property
    def position(self) -> int:
        """Return how far the file is read, in bytes as it was given. To the byte where it is not packed."""
        return self.file.tell() if self.is_packed else self.read_so_far

    def _count(self, part: bytes) -> bytes:
        self.read_so_far += len(part)
        if self.read_so_far > self.largest:
            raise TooLarge(f"The file is larger than {self.largest:,} bytes when unpacked; split it.")
        return part


def _peek(file: BinaryIO, n: int) -> bytes:
    try:
        begins = file.read(n)
        file.seek(0)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"The gzip file is damaged ({error}); send it again.") from error
    return begins
