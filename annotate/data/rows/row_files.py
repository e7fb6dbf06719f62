"""Rows of an uploaded file, one at a time: JSON lines, CSV, TSV or Parquet, gzipped or not. Pure: no Django.

The content decides, not the name, except between CSV and JSON lines. What a file holds never has to fit in memory.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import math
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time
from itertools import chain
from typing import Any, BinaryIO, cast

from annotate.data.rows import json_arrays

FORMATS = ("auto", "jsonl", "csv", "parquet")
LONGEST_LINE = 4_000_000
LONGEST_VOID = 100_000_000  # bytes of one line: else a small packed file could keep its reader for hours
LARGEST_FILE = 2_000_000_000  # unpacked
LARGEST_IMPORT = 100_000_000_000  # unpacked, where rows go to the database one by one
_BATCH = 256
_MOST_HEAD = 50  # lines
_QUOTED = re.compile(r'"[^"]*"')  # a column's name may hold what separates others
_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_FOREIGN = {
    "a zip archive, as an .xlsx is one": rb"PK\x03\x04",
    "packed by bzip2": rb"BZh\d1AY&SY",
    "packed by zstd": rb"\x28\xb5\x2f\xfd",
    "packed by xz": rb"\xfd7zXZ\x00",
    "packed by gzip more than once": rb"\x1f\x8b",
}


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
    if not begins.startswith(_PARQUET):
        _refuse_foreign(begins)
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


def printable(text: str, longest: int = 400) -> str:
    """What was said about a file, which may quote it, as a page, an answer and a database can hold it."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:longest]


def is_parquet(file: BinaryIO) -> bool:
    begins = _Source(file, "", LARGEST_FILE).begins
    file.seek(0)
    return begins.startswith(_PARQUET)


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
        began = self.read_so_far
        while (part := self.readline()) and not part.endswith(b"\n"):
            self.check_void(began, LONGEST_VOID)

    def check_void(self, since: int, most: int) -> None:
        if self.read_so_far - since > most:
            raise TooLarge(f"For {most:,} bytes no row comes; take out what is not one.")

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


def _refuse_foreign(begins: bytes) -> None:
    for told, sign in _FOREIGN.items():
        if re.match(sign, begins):
            raise UnreadableFile(f"The file is {told}; unpack it. A text file or Parquet is read, gzipped or not.")
    if begins.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in begins[:2]:
        raise UnreadableFile("The file is in UTF-16, or no text at all; save it as UTF-8.")


def _guess(begins: bytes, name: str) -> str:
    if begins.startswith(_PARQUET):
        return "parquet"
    if name.lower().endswith((".csv", ".tsv")):
        return "csv"
    return "jsonl"


def _json_lines(source: _Source, after: int, position: int) -> Iterator[FileRow]:
    can_jump = bool(position) and not source.is_packed
    if can_jump:
        source.seek(position)
    row_ended = source.read_so_far
    for number, line in enumerate(iter(source.readline, b""), start=(after if can_jump else 0) + 1):
        if is_long := len(line) > LONGEST_LINE:
            source.pass_line()
        if not line.strip():
            source.check_void(row_ended, LONGEST_LINE)
            continue
        row_ended = source.read_so_far
        if number <= after:
            continue
        if is_long:
            yield FileRow(number, {}, f"has more than {LONGEST_LINE:,} bytes; cut its text.", source.position)
            continue
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if number == 1 and line.strip() == b"{":
            raise UnreadableFile("The file is one JSON object over many lines; give a row on each line, or [a list].")
        try:
            row = json_arrays.DECODER.decode(line.decode())
        except (ValueError, RecursionError) as error:
            yield FileRow(number, {}, _why_no_json(error), source.position)
            continue
        yield _checked(number, row, source.position)


def _why_no_json(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return f"is not UTF-8 ({error.reason}, byte {error.start + 1}); save the file as UTF-8."
        case json.JSONDecodeError():
            return f"is not JSON: {error.msg} (character {error.pos + 1})."
        case json_arrays.NamedTwice():
            return f"{error}"
        case RecursionError():
            return "is nested too deeply to be read."
    return "holds a whole number of thousands of digits, which is none that is read."


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


class _TableLines:
    """The lines of a table as texts. What was odd about them is told once a row is made of them."""

    def __init__(self, source: _Source) -> None:
        self._source, self._number, self._size, self._problem = source, 0, 0, ""

    def __iter__(self) -> Iterator[str]:
        for line in iter(self._source.readline, b""):
            self._number += 1
            self._size += len(line)
            if self._size > LONGEST_LINE:
                text = f"Up to line {self._number} a row has more than {LONGEST_LINE:,} bytes"
                raise TooLarge(f"{text}; cut its text, or look for a quotation mark that does not close.")
            yield self._decoded(line)

    def row_ends(self) -> str:
        """What is wrong with the lines since the last row ended, or ""."""
        problem, self._size, self._problem = self._problem, 0, ""
        return problem

    def _decoded(self, line: bytes) -> str:
        try:
            return line.decode("utf-8-sig" if self._number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            if self._number == 1:
                raise UnreadableFile(f"Line 1 is not UTF-8 ({error.reason}); save the file as UTF-8.") from error
            self._problem = f"is not UTF-8 ({error.reason}); save the file as UTF-8."
            return line.decode("utf-8", "replace")


def _csv(source: _Source) -> Iterator[FileRow]:
    """The first line names the columns. Tabs or semicolons separate where it has more of those than commas."""
    lines = _TableLines(source)
    texts = iter(lines)
    head = _head(texts)
    bare = _QUOTED.sub("", "".join(head))
    separator = "\t" if source.name.endswith(".tsv") else max(",\t;", key=bare.count)
    csv.field_size_limit(LONGEST_LINE)
    if "\r" in bare.rstrip("\r\n"):
        raise UnreadableFile("Its lines end as on old Macs, by carriage returns alone; save it with line feeds.")
    # Strict: a quotation mark that does not close would swallow the rows behind it, and nobody would know.
    reader = csv.reader(chain(head, texts), delimiter=separator, strict=True)
    names = _columns(reader)
    lines.row_ends()
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            lines.row_ends()
            said = str(error).partition(" - ")[0]
            yield FileRow(
                number, {}, f"is no CSV ({said}); quote the text, and double each mark in it.", source.position
            )
            continue
        if values is None:
            return
        if values:
            problem = lines.row_ends() or _odd_length(values, names, number, reader.line_num)
            row = {} if problem else dict(zip(names, values, strict=True))
            yield FileRow(number, row, problem, source.position)


def _head(lines: Iterator[str]) -> list[str]:
    """The lines that name the columns: several where a name, in quotation marks, spans them."""
    head = [next(lines, "")]
    while "".join(head).count('"') % 2 and len(head) < _MOST_HEAD and (line := next(lines, "")):
        head.append(line)
    return head


def _columns(reader: Any) -> list[str]:
    try:
        names: list[str] = next(reader, [])
    except csv.Error as error:
        raise UnreadableFile(f"The first line names no columns: {error}.") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice is not None:
        text = "" if twice is None else f"; {twice!r:.60} stands there {names.count(twice)} times"
        raise UnreadableFile(f"The first line of a CSV file must name its columns, each once{text}.")
    return names


def _odd_length(values: list[str], names: list[str], begins: int, ends: int) -> str:
    if len(values) == len(names):
        return ""
    text = f"has {len(values)} columns where the first line names {len(names)}."
    return text if begins == ends else f"{text} It goes on to line {ends}: does a quotation mark not close?"


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
                for row in _listed(batch):
                    number += 1
                    position = round(number * bytes_each)
                    if row is None:
                        yield FileRow(number, {}, "holds a value that is none, such as a moment after 9999.", position)
                        continue
                    row |= {name: _as_json(row[name]) for name in odd}
                    yield FileRow(number, row, "", position)
        except pa.ArrowException as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error


def _listed(batch: Any) -> Iterator[dict[str, Any] | None]:
    """None for a row of which something has no value in Python."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):
        for place in range(batch.num_rows):
            try:
                yield batch.slice(place, 1).to_pylist()[0]
            except (ValueError, OverflowError):
                yield None


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
