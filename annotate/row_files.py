"""Rows of an uploaded file, one at a time: JSON lines, CSV, TSV or Parquet, gzipped or not. Pure: no Django.

The content decides, not the name, except between CSV and JSON lines. What a file holds never has to fit in memory,
but for a JSON array, which is bounded.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

FORMATS = ("auto", "jsonl", "csv", "parquet")
LONGEST_LINE = 4_000_000
LARGEST_FILE = 2_000_000_000  # unpacked
LARGEST_ARRAY = 64_000_000
_BATCH = 256
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


class UnreadableFile(ValueError):
    """The file as a whole is not what it should be; the message says so and what would help."""


class TooLarge(UnreadableFile):
    pass


@dataclass(frozen=True)
class FileRow:
    """`line` is the line of a text file, counted from 1, or the row of a Parquet file. `problem` stands for no row."""

    line: int
    row: dict[str, Any]
    problem: str = ""


def read_rows(file: BinaryIO, name: str = "", format: str = "auto") -> Iterator[FileRow]:
    """Raises UnreadableFile for a damaged or too large file; a line that is no row is told as one."""
    if format not in FORMATS:
        raise UnreadableFile(f"{format!r} is no format; use one of {', '.join(FORMATS)}.")
    plain, name = _unpacked(file, name)
    begins = _peek(plain, 64)
    if format == "auto":
        format = _guess(begins, name)
    try:
        if format == "parquet":
            yield from _parquet(plain, begins)
        elif format == "csv":
            yield from _csv(plain, name)
        elif begins.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            yield from _array(plain)
        else:
            yield from _json_lines(plain)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"The file is damaged ({error}); send it again.") from error


def _unpacked(file: BinaryIO, name: str) -> tuple[BinaryIO, str]:
    if _peek(file, 2) != _GZIP:
        return file, name
    return cast(BinaryIO, gzip.GzipFile(fileobj=file)), name.removesuffix(".gz")


def _peek(file: BinaryIO, n: int) -> bytes:
    try:
        begins = file.read(n)
        file.seek(0)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"The gzip file is damaged ({error}); send it again.") from error
    return begins


def _guess(begins: bytes, name: str) -> str:
    if begins.startswith(_PARQUET):
        return "parquet"
    if name.lower().endswith((".csv", ".tsv")):
        return "csv"
    return "jsonl"


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    total = 0
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
        total += len(line)
        if len(line) > LONGEST_LINE:
            raise TooLarge(f"Line {number} has more than {LONGEST_LINE:,} bytes; cut its text.")
        if total > LARGEST_FILE:
            raise TooLarge(f"At most {LARGEST_FILE:,} bytes, unpacked, in one upload; split the file.")
        yield number, line


def _json_lines(file: BinaryIO) -> Iterator[FileRow]:
    for number, line in _lines(file):
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield FileRow(number, {}, "is not JSON in UTF-8.")
            continue
        yield _checked(number, row)


def _checked(number: int, row: Any) -> FileRow:
    if not isinstance(row, dict):
        return FileRow(number, {}, 'is no JSON object such as {"text": "…"}.')
    return FileRow(number, row)


def _array(file: BinaryIO) -> Iterator[FileRow]:
    """A whole list, as Alpaca's file is one: the only form that is held in memory."""
    text = file.read(LARGEST_ARRAY + 1)
    if len(text) > LARGEST_ARRAY:
        raise TooLarge(f"A JSON list may have {LARGEST_ARRAY:,} bytes; send a larger file as JSON lines.")
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"The list is not JSON in UTF-8: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield _checked(number, row)


def _csv(file: BinaryIO, name: str) -> Iterator[FileRow]:
    """The first line names the columns. Tabs or semicolons separate where the first line has those and no comma."""
    lines = (_decoded(number, line) for number, line in _lines(file))
    first = next(lines, "")
    separator = next((s for s in ("\t", ",", ";") if s in first), ",") if not name.endswith(".tsv") else "\t"
    csv.field_size_limit(LONGEST_LINE)
    names = next(csv.reader([first], delimiter=separator), [])
    if not names or len(set(names)) != len(names):
        raise UnreadableFile("The first line of a CSV file must name its columns, each once.")
    reader = csv.reader(lines, delimiter=separator)
    number = 2
    try:
        for values in reader:
            row = dict(zip(names, values, strict=False))
            if len(values) == len(names):
                yield FileRow(number, row)
            elif values:
                yield FileRow(number, {}, f"has {len(values)} columns where the first line names {len(names)}.")
            number = reader.line_num + 2  # the first line was read apart, and a quoted text may span lines
    except csv.Error as error:
        raise UnreadableFile(f"Line {number} is no CSV: {error}.") from error


def _decoded(number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"Line {number} is not UTF-8 ({error.reason}); save the file as UTF-8.") from error


def _parquet(file: BinaryIO, begins: bytes) -> Iterator[FileRow]:
    import pyarrow as pa  # late: half a second that no other upload needs to pay
    import pyarrow.parquet as pq

    if not begins.startswith(_PARQUET):
        raise UnreadableFile("This is no Parquet file: it does not begin with PAR1.")
    with _seekable(file) as whole:
        try:
            number = size = 0
            for batch in pq.ParquetFile(whole).iter_batches(_BATCH):
                size += batch.nbytes
                if size > LARGEST_FILE:  # a text that stands in every row is written once and unpacks to gigabytes
                    raise TooLarge(f"At most {LARGEST_FILE:,} bytes, unpacked, in one upload; split the file.")
                for row in batch.to_pylist():
                    number += 1
                    yield FileRow(number, row)
        except pa.ArrowException as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error


def _seekable(file: BinaryIO) -> Any:
    """Parquet is read from its end: a packed one is unpacked to disk first."""
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's `with` closes it
    shutil.copyfileobj(cast(Any, _Bounded(file)), copy)
    copy.seek(0)
    return copy


class _Bounded:
    """Reads on until LARGEST_FILE, so that a small gzip file cannot fill the disk."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, LARGEST_FILE

    def read(self, n: int) -> bytes:
        part = self.file.read(n)
        self.left -= len(part)
        if self.left < 0:
            raise TooLarge(f"At most {LARGEST_FILE:,} bytes, unpacked, in one upload; split the file.")
        return part
