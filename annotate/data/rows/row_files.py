"""Rows of an uploaded file, one at a time: JSON lines, CSV, TSV, Parquet or text, gzipped or not. Pure: no Django.

The content decides, not the name, except between tables, plain text and JSON lines. What a file holds never has to fit
in memory.
"""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

from annotate.data.rows import json_arrays, row_source, text_rows
from annotate.data.rows.parquet_rows import read_parquet
from annotate.data.rows.row_source import MOST_HEAD, PARQUET, FileRow, Source, TooLarge, UnreadableFile

FORMATS = ("auto", "jsonl", "csv", "parquet", text_rows.LINES, text_rows.PARAGRAPHS)
LARGEST_FILE = 2_000_000_000  # unpacked
LARGEST_IMPORT = 100_000_000_000  # unpacked, where rows go to the database one by one
_QUOTED = re.compile(r'"[^"]*"')  # a column's name may hold what separates others
_FOREIGN = {
    "a zip archive, such as .xlsx": rb"PK\x03\x04",
    "packed by bzip2": rb"BZh\d1AY&SY",
    "packed by zstd": rb"\x28\xb5\x2f\xfd",
    "packed by xz": rb"\xfd7zXZ\x00",
    "packed by gzip more than once": rb"\x1f\x8b",
}


def read_rows(
    file: BinaryIO, name: str = "", format: str = "auto", *,
    largest: int | None = None, after: int = 0, position: int = 0,
) -> Iterator[FileRow]:  # fmt: skip
    """Raises UnreadableFile for a damaged or too large file; a line that is no row is told as one.

    `after` goes on behind that line (or row), with the `position` that its FileRow had: plain JSON lines and Parquet
    begin there at once, other files are read through to it.
    """
    if format not in FORMATS:
        raise UnreadableFile(f"{format!r} is not a format; use one of {', '.join(FORMATS)}.")
    source = Source(file, name, largest or LARGEST_FILE)
    begins = source.begins
    if not begins.startswith(PARQUET):
        _refuse_foreign(begins)
    if format == "auto":
        format = _guess(source)
    try:
        if format == "parquet":
            rows = read_parquet(source, after)
        elif format == "csv":
            rows = _csv(source)
        elif format in (text_rows.LINES, text_rows.PARAGRAPHS):
            rows = text_rows.read_text(source, format)
        elif is_array(begins):
            rows = _array(source)
        else:
            rows = _json_lines(source, after, position)
        yield from (row for row in rows if row.line > after)
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableFile(f"The file is damaged ({error}); send it again.") from error


def is_parquet(file: BinaryIO) -> bool:
    begins = Source(file, "", LARGEST_FILE).begins
    file.seek(0)
    return begins.startswith(PARQUET)


def is_array(begins: bytes) -> bool:
    return begins.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _refuse_foreign(begins: bytes) -> None:
    for file_format, sign in _FOREIGN.items():
        if re.match(sign, begins):
            raise UnreadableFile(
                f"The file is {file_format}; unpack it. Text files and Parquet can be read, gzipped or not."
            )
    if begins.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in begins[:2]:
        raise UnreadableFile("The file is in UTF-16 or not a text file; save it as UTF-8.")


def _guess(source: Source) -> str:
    name = source.name.lower()
    if source.begins.startswith(PARQUET):
        return "parquet"
    if name.endswith((".csv", ".tsv")):
        return "csv"
    is_json = source.begins.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[{"))
    return text_rows.guess(source) if name.endswith(".txt") and not is_json else "jsonl"


def _json_lines(source: Source, after: int, position: int) -> Iterator[FileRow]:
    can_jump = bool(position) and not source.is_packed
    if can_jump:
        source.seek(position)
    row_ended = source.read_so_far
    for number, line in enumerate(iter(source.readline, b""), start=(after if can_jump else 0) + 1):
        if is_long := len(line) > row_source.LONGEST_LINE:
            source.pass_rest_of(line)
        if not line.strip():
            source.check_void(row_ended, row_source.LONGEST_LINE)
            continue
        row_ended = source.read_so_far
        if number <= after:
            continue
        if is_long:
            yield FileRow(number, {}, f"has more than {row_source.LONGEST_LINE:,} bytes; shorten it.", source.position)
            continue
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if number == 1 and line.strip() == b"{":
            raise UnreadableFile(
                "The file is one JSON object over many lines; write one row on each line, or [a list]."
            )
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
            return "is nested too deeply."
    return "has a number with thousands of digits."


def _checked(number: int, row: Any, position: int) -> FileRow:
    if not isinstance(row, dict):
        return FileRow(number, {}, 'is not a JSON object such as {"text": "…"}.', position)
    return FileRow(number, row, "", position)


def _array(source: Source) -> Iterator[FileRow]:
    """Yield the rows of a list, as Alpaca's file is one. `line` is the row's place in it, counted from 1."""
    number = 0
    try:
        for number, row in enumerate(json_arrays.rows(source, row_source.LONGEST_LINE), start=1):
            yield _checked(number, row, source.position)
    except UnreadableFile:
        raise
    except UnicodeDecodeError as error:
        raise UnreadableFile(f"The list is not JSON in UTF-8: after row {number}, {error.reason}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"The list is not JSON in UTF-8: after row {number}, {error}") from error


class _TableLines:
    """The lines of a table as texts. What was odd about them is told once a row is made of them."""

    def __init__(self, source: Source) -> None:
        self._source, self._number, self._size, self._problem = source, 0, 0, ""

    def __iter__(self) -> Iterator[str]:
        for line in iter(self._source.readline, b""):
            self._number += 1
            self._size += len(line)
            if self._size > row_source.LONGEST_LINE:
                text = f"Up to line {self._number} a row has more than {row_source.LONGEST_LINE:,} bytes"
                raise TooLarge(f"{text}; shorten it, or look for a quotation mark that is not closed.")
            yield self._decoded(line)

    def row_ends(self) -> str:
        """Return what is wrong with the lines since the last row ended, or ""."""
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


def _csv(source: Source) -> Iterator[FileRow]:
    """Yield rows. The first line names the columns. Tabs or semicolons separate where it has more of those than
    commas."""
    lines = _TableLines(source)
    texts = iter(lines)
    head = _head(texts)
    bare = _QUOTED.sub("", "".join(head))
    separator = "\t" if source.name.endswith(".tsv") else max(",\t;", key=bare.count)
    csv.field_size_limit(row_source.LONGEST_LINE)
    if "\r" in bare.rstrip("\r\n"):
        raise UnreadableFile("Its lines end with carriage returns only; save it with line feeds.")
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
            reason = str(error).partition(" - ")[0]
            yield FileRow(
                number,
                {},
                f"is not valid CSV ({reason}); quote the text, and double each quotation mark in it.",
                source.position,
            )
            continue
        if values is None:
            return
        if values:
            problem = lines.row_ends() or _odd_length(values, names, number, reader.line_num)
            row = {} if problem else dict(zip(names, values, strict=True))
            yield FileRow(number, row, problem, source.position)


def _head(lines: Iterator[str]) -> list[str]:
    """Return the lines that name the columns: several where a name, in quotation marks, spans them."""
    head = [next(lines, "")]
    while "".join(head).count('"') % 2 and len(head) < MOST_HEAD and (line := next(lines, "")):
        head.append(line)
    return head


def _columns(reader: Any) -> list[str]:
    try:
        names: list[str] = next(reader, [])
    except csv.Error as error:
        raise UnreadableFile(f"The first line has no column names: {error}.") from error
    twice = next((name for name in names if names.count(name) > 1), None)
    if not names or twice is not None:
        text = "" if twice is None else f"; {twice!r:.60} is there {names.count(twice)} times"
        raise UnreadableFile(f"The first line of a CSV file must name its columns, each once{text}.")
    return names


def _odd_length(values: list[str], names: list[str], begins: int, ends: int) -> str:
    if len(values) == len(names):
        return ""
    text = f"has {len(values)} columns where the first line names {len(names)}."
    return (
        text
        if begins == ends
        else f"{text} The row ends in line {ends}: check for a quotation mark that is not closed."
    )
