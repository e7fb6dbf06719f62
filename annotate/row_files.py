"""Rows of an uploaded file, one at a time: JSON lines, CSV, TSV or Parquet, gzipped or not. Pure: no Django.

The content decides, not the name, except between CSV and JSON lines. What a file holds never has to fit in memory.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from typing import Any, BinaryIO, cast

from annotate import json_arrays

FORMATS = ("auto", "jsonl", "csv", "parquet")
LONGEST_LINE = 4_000_000
LARGEST_FILE = 2_000_000_000  # unpacked
LARGEST_IMPORT = 100_000_000_000  # unpacked, where rows go to the database one by one
_BATCH = 256
_QUOTED = re.compile(r'"[^"]*"')  # a column's name may hold what separates others
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"


class UnreadableFile(ValueError):
    """The file as a whole is not what it should be; the message says so and what would help."""


class TooLarge(UnreadableFile):
    pass


@dataclass(frozen=True)
class FileRow:
    """`line` is the line of a text file, or the row of a list or a Parquet file, counted from 1. `problem` stands for
    no row. `position` is how many bytes of the file, as it was given, are read: about, but for plain JSON lines."""

    line: int
    row: dict[str, Any]
    problem: str = ""
    position: int = 0


def read_rows(
    file: BinaryIO, name: str = "", format: str = "auto", *,
    largest: int | None = None, after: int = 0, position: int = 0,
) -> Iterator[FileRow]:  # fmt: skip
    """Raises UnreadableFile for a damaged or too large file; a line that is no row is told as one.

    `after` goes on behind that line (or row), with the `position` that its FileRow had: plain JSON lines and Parquet
    begin there at once, other files are read through to it.
    """
    if format not in FORMATS:
        raise UnreadableFile(f"{format!r} is no format; use one of {', '.join(FORMATS)}.")
    source = _Source(file, name, largest or LARGEST_FILE)
    begins = source.begins
    if format == "auto":
        format = _guess(begins, source.name)
    try:
        if format == "parquet":
            rows = _parquet(source, after)
        elif format == "csv":
            rows = _csv(source)
        elif is_array(begins):
            rows = _array(source)
        else:
            rows = _json_lines(source, after, position)
        yield from (row for row in rows if row.line > after)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"The file is damaged ({error}); send it again.") from error


def is_array(begins: bytes) -> bool:
    return begins.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


class _Source:
    """A file, unpacked as it is read, up to a bound: a small gzip file could hold more than a disk does."""

    def __init__(self, file: BinaryIO, name: str, largest: int) -> None:
        self.given, self.largest, self.read_so_far = file, largest, 0
        self.is_packed = _peek(file, 2) == _GZIP
        self.plain = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if self.is_packed else file
        self.name = name.removesuffix(".gz") if self.is_packed else name
        self.begins = _peek(self.plain, 64)

    def readline(self) -> bytes:
        return self._counted(self.plain.readline(LONGEST_LINE + 1))

    def read(self, n: int) -> bytes:
        return self._counted(self.plain.read(n))

    def pass_line(self) -> None:
        """The rest of a line that nobody can use, without holding it."""
        while (part := self.readline()) and not part.endswith(b"\n"):
            pass

    def seek(self, position: int) -> None:
        self.plain.seek(position)
        self.read_so_far = position

    @property
    def position(self) -> int:
        """How far the file is read, in bytes as it was given. To the byte where it is not packed."""
        return self.given.tell() if self.is_packed else self.read_so_far

    def _counted(self, part: bytes) -> bytes:
        self.read_so_far += len(part)
        if self.read_so_far > self.largest:
            raise TooLarge(f"At most {self.largest:,} bytes, unpacked, in one upload; split the file.")
        return part


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


def _lines(source: _Source) -> Iterator[tuple[int, bytes]]:
    for number, line in enumerate(iter(source.readline, b""), start=1):
        if len(line) > LONGEST_LINE:
            raise TooLarge(f"Line {number} has more than {LONGEST_LINE:,} bytes; cut its text.")
        yield number, line


def _json_lines(source: _Source, after: int, position: int) -> Iterator[FileRow]:
    can_jump = bool(position) and not source.is_packed
    if can_jump:
        source.seek(position)
    for number, line in enumerate(iter(source.readline, b""), start=(after if can_jump else 0) + 1):
        if is_long := len(line) > LONGEST_LINE:
            source.pass_line()
        if number <= after:
            continue
        if is_long:
            yield FileRow(number, {}, f"has more than {LONGEST_LINE:,} bytes; cut its text.", source.position)
            continue
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if not line.strip():
            continue
        try:
            row = json_arrays.DECODER.decode(line.decode())
        except (ValueError, RecursionError):
            yield FileRow(number, {}, "is not JSON in UTF-8.", source.position)
            continue
        yield _checked(number, row, source.position)


def _checked(number: int, row: Any, position: int) -> FileRow:
    if not isinstance(row, dict):
        return FileRow(number, {}, 'is no JSON object such as {"text": "…"}.', position)
    return FileRow(number, row, "", position)


def _array(source: _Source) -> Iterator[FileRow]:
    """A list, as Alpaca's file is one, row by row. `line` is the row's place in it, counted from 1."""
    number = 0
    try:
        for number, row in enumerate(json_arrays.rows(source, LONGEST_LINE), start=1):
            yield _checked(number, row, source.position)
    except UnreadableFile:
        raise
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"The list is not JSON in UTF-8: behind row {number}, {error.reason}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"The list is not JSON in UTF-8: behind row {number}, {error}") from error


def _csv(source: _Source) -> Iterator[FileRow]:
    """The first line names the columns. Tabs or semicolons separate where the first line has those and no comma."""
    lines = (_decoded(number, line) for number, line in _lines(source))
    first = next(lines, "")
    bare = _QUOTED.sub("", first)
    separator = next((s for s in ("\t", ",", ";") if s in bare), ",") if not source.name.endswith(".tsv") else "\t"
    csv.field_size_limit(LONGEST_LINE)
    if "\r" in bare.rstrip("\r\n"):
        raise UnreadableFile("Its lines end as on old Macs, by carriage returns alone; save it with line feeds.")
    names = next(csv.reader([first], delimiter=separator), [])
    if not names or len(set(names)) != len(names):
        raise UnreadableFile("The first line of a CSV file must name its columns, each once.")
    reader = csv.reader(lines, delimiter=separator)
    number = 2
    try:
        for values in reader:
            if len(values) == len(names):
                yield FileRow(number, dict(zip(names, values, strict=True)), "", source.position)
            elif values:
                told = f"has {len(values)} columns where the first line names {len(names)}."
                yield FileRow(number, {}, told, source.position)
            number = reader.line_num + 2  # the first line was read apart, and a quoted text may span lines
    except csv.Error as error:
        raise UnreadableFile(f"Line {number} is no CSV: {error}.") from error


def _decoded(number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"Line {number} is not UTF-8 ({error.reason}); save the file as UTF-8.") from error


def _parquet(source: _Source, after: int) -> Iterator[FileRow]:
    import pyarrow as pa  # late: half a second that no other upload needs to pay
    import pyarrow.parquet as pq

    if not source.begins.startswith(_PARQUET):
        raise UnreadableFile("This is no Parquet file: it does not begin with PAR1.")
    with _seekable(source) as whole:
        try:
            table = pq.ParquetFile(whole)
            odd = [column.name for column in table.schema_arrow if not _is_as_json(pa, column.type)]
            bytes_each = _size(source.given) / max(1, table.metadata.num_rows)
            number, groups = _groups_behind(table.metadata, after)
            size = 0
            for batch in table.iter_batches(_BATCH, row_groups=groups):
                size += batch.nbytes
                if size > source.largest:  # a text that stands in every row is written once and unpacks to gigabytes
                    raise TooLarge(f"At most {source.largest:,} bytes, unpacked, in one upload; split the file.")
                for row in batch.to_pylist():
                    number += 1
                    row |= {name: _as_json(row[name]) for name in odd}
                    yield FileRow(number, row, "", round(number * bytes_each))
        except pa.ArrowException as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error


def _is_as_json(pa: Any, type: Any) -> bool:
    """Whether whatever such a column holds can stand in JSON."""
    kinds = pa.types
    if kinds.is_dictionary(type) or kinds.is_list(type) or kinds.is_large_list(type):
        return _is_as_json(pa, type.value_type)
    if kinds.is_struct(type):
        return all(_is_as_json(pa, type.field(place).type) for place in range(type.num_fields))
    return any(
        fits(type)
        for fits in (kinds.is_string, kinds.is_large_string, kinds.is_integer, kinds.is_boolean, kinds.is_null)
    )


def _as_json(value: Any) -> Any:
    """A moment and a decimal as texts; bytes as the text they are, or nothing; what is no number is nothing."""
    if isinstance(value, float):
        return value if math.isfinite(value) else json_arrays.constant(str(value))
    if isinstance(value, bytes):
        with contextlib.suppress(UnicodeDecodeError):
            return value.decode()
        return None
    if isinstance(value, dict):
        return {str(name): _as_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    return value if value is None or isinstance(value, str | int) else str(value)


def _groups_behind(metadata: Any, after: int) -> tuple[int, list[int]]:
    """How many rows to pass over, and the groups of rows that follow them."""
    passed = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if passed + rows > after:
            return passed, list(range(group, metadata.num_row_groups))
        passed += rows
    return passed, []


def _size(file: BinaryIO) -> int:
    here = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(here)
    return size


def _seekable(source: _Source) -> Any:
    """Parquet is read from its end: a packed one is unpacked to disk first."""
    if not source.is_packed:
        return contextlib.nullcontext(source.given)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's `with` closes it
    shutil.copyfileobj(cast(Any, source), copy)
    copy.seek(0)
    return copy
