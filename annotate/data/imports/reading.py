"""Read a kept file as portions of items that are ready to be written, with the positions reached in it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from django.db import connection

from annotate.data import formats
from annotate.data.formats.items import Item
from annotate.data.imports.column_uses import column_uses
from annotate.data.imports.preparing import Ready, prepare
from annotate.data.rows.row_files import LARGEST_IMPORT, is_parquet, read_rows
from annotate.data.rows.row_source import FileRow, TooLarge, UnreadableFile, printable

# Of a portion. While it is written, nobody else writes on SQLite; on Postgres nobody in its project, and each portion
# is some twenty round trips.
ROWS, CHARACTERS = 400 if connection.vendor == "sqlite" else 1_000, 800_000
log = logging.getLogger("assay.imports")
_ASKED = 10  # rows by which it is told what each column is read as
_LOOKED_AT = 50  # rows by which the format is found out
LARGEST_LOOK = 16_000_000  # bytes of text in which there must be some, while somebody waits for the answer


@dataclass(frozen=True)
class Bad:
    line: int
    reason: str


@dataclass
class Portion:
    """Items read together; `line` and `position` are where the portion ends."""

    ready: list[Ready] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    rows: int = 0
    line: int = 0
    position: int = 0
    characters: int = 0

    @property
    def is_full(self) -> bool:
        return self.rows >= ROWS or self.characters >= CHARACTERS


@dataclass(frozen=True)
class HowToRead:
    """Say how a file is read. `format` is one of `formats.FORMATS`, "auto" or "table" with `columns`, {ours: the
    file's}. `container` is one of `row_files.FORMATS`."""

    format: str = "auto"
    container: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)


def found_out(path: Path, name: str, read_options: HowToRead) -> str:
    """Return the format's name. Raises ValueError in words where the rows are of none."""
    if read_options.columns:
        return "table"
    if read_options.format != "auto":
        return read_options.format
    first = first_rows(path, name, read_options.container)
    good = [row.row for row in first if not row.problem]
    if not good:
        text = "; ".join(f"line {row.line} {row.problem}" for row in first[:3]) or "it has no rows"
        hint = ""
        if first and read_options.container == "auto" and not name.lower().endswith((".jsonl", ".csv", ".tsv", ".txt")):
            hint = " The name of a table must end in .csv or .tsv, of a text in .txt; or choose the file type."
        raise ValueError(f"The file cannot be read: {text}{hint}")
    try:
        return formats.detect(good, name)
    except ValueError:
        # One odd line must not hide what the others are: it is told by its number like any other.
        formats_of_rows = Counter(format_ for row in good if (format_ := _format_of(row)))
        if not formats_of_rows or formats_of_rows.most_common(1)[0][1] * 2 <= len(good):
            raise
        return formats_of_rows.most_common(1)[0][0]


def _beginning(path: Path, name: str, container: str) -> Iterator[FileRow]:
    """Yield the rows in its first bytes: of a small file that unpacks without an end, no more is ever read at once."""
    row = None
    with path.open("rb") as file:
        largest = LARGEST_IMPORT if is_parquet(file) else LARGEST_LOOK
        try:
            for row in read_rows(file, name, container, largest=largest):
                yield row
        except TooLarge as error:
            if row is not None:
                return
            if largest != LARGEST_LOOK:
                raise
            raise TooLarge(f"Its first {LARGEST_LOOK:,} bytes have no row, or a row that is too long.") from error


def first_rows(path: Path, name: str, container: str, n: int = _LOOKED_AT) -> list[FileRow]:
    """Return the first rows as the file has them. Raises ValueError in words where it cannot be read."""
    return list(islice(_beginning(path, name, container), n))


def _format_of(row: dict[str, Any]) -> str:
    try:
        return formats.detect([row])
    except ValueError:
        return ""


def portions(
    path: Path, name: str, read_options: HowToRead, *, eval_percent: int, after_line: int = 0, position: int = 0
) -> Generator[Portion, None, None]:
    """Yield portions from behind line `after_line`, whose portion ended at `position`. `read_options.format` is no
    longer "auto".

    Raises row_files.UnreadableFile where the file itself is damaged.
    """
    read_row = _reader(read_options)
    with path.open("rb") as file:
        rows = read_rows(
            file, name, read_options.container, largest=LARGEST_IMPORT, after=after_line, position=position
        )
        portion = Portion(line=after_line, position=position)
        for row in rows:
            _take(portion, row, read_row, eval_percent)
            if portion.is_full:
                yield portion
                portion = Portion(line=portion.line, position=portion.position)
        if portion.rows:
            yield portion


class ReadAhead:
    """Read each portion while the one before it is being written: the writer waits for the database most of the
    time."""

    def __init__(self, portions: Generator[Portion, None, None]) -> None:
        self._portions = portions
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="import")
        self._next = self._read()

    def take(self) -> Portion | None:
        """Return the next portion; None at the end. Raises what reading raised."""
        portion = self._next.result()
        if portion is not None:
            self._next = self._read()
        return portion

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)  # what is being read takes a fraction of a second
        self._portions.close()

    def _read(self) -> Future[Portion | None]:
        return self._pool.submit(next, self._portions, None)


def first_items(
    path: Path, name: str, read_options: HowToRead, n: int = 10
) -> tuple[list[tuple[int, Item]], list[Bad]]:
    """Return the first items as they would be taken, each with its line, and what is wrong with lines before them."""
    read_row, portion = _reader(read_options), Portion()
    for row in _beginning(path, name, read_options.container):
        _take(portion, row, read_row, eval_percent=0)
        if len(portion.ready) >= n or portion.is_full:
            break
    return [(item.line, item.item) for item in portion.ready[:n]], portion.bad[:n]


def uses_of_columns(path: Path, name: str, read_options: HowToRead) -> dict[str, str]:
    """Return what each column is read as, by the first rows: {column: "prompt"}, "" where nothing reads it."""
    rows: list[dict[str, Any]] = []
    with suppress(UnreadableFile):  # damaged further on: what stands before it is imported, so it tells the columns
        first = (row.row for row in _beginning(path, name, read_options.container) if not row.problem)
        rows.extend(islice(first, _ASKED))
    return column_uses(_reader(read_options), rows)


def _reader(read_options: HowToRead) -> Callable[[dict[str, Any], int], list[Item]]:
    return formats.mapped(read_options.columns) if read_options.columns else formats.READERS[read_options.format]


def _take(portion: Portion, row: FileRow, read_row: Any, eval_percent: int) -> None:
    """Take a row whole or not at all: half of a tree would be another tree."""
    portion.rows += 1
    portion.line, portion.position = row.line, row.position
    try:
        if row.problem:
            raise ValueError(row.problem)
        items = [prepare(item, line=row.line, eval_percent=eval_percent) for item in read_row(row.row, row.line)]
    except ValueError as error:
        portion.bad.append(Bad(row.line, printable(str(error))))
        return
    except formats.ODD_ROW as error:  # built as nobody thought of: no reason to lose the other rows
        log.warning("line %s could not be read", row.line, exc_info=True)
        portion.bad.append(Bad(row.line, printable(f"does not match its format: {error}")))
        return
    portion.ready += items
    portion.characters += sum(map(_size, items))


def _size(ready: Ready) -> int:
    size = len(str(ready.item.extra)) if ready.item.extra else 0
    for answer in ready.answers:
        size += len(answer.text)
    for turn in ready.messages:
        size += len(turn["content"])
    return size
