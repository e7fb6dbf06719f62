"""Show what a file of prompts would bring before anything is taken: its first rows, columns that nothing reads, how
many prompts each split would get."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from annotate.data import formats
from annotate.data.formats.items import KIND_OF, Item
from annotate.data.imports import kept_files, options, reading
from annotate.data.rows.row_files import read_rows
from annotate.models import Import, Split

_ROWS = 3
_PORTIONS = 5  # of 400 rows: what somebody waits for


@dataclass(frozen=True)
class PreviewRow:
    """The line in the file, its kind, the last turn of its prompt, and the system prompt before it."""

    line: int
    kind: str
    text: str
    system: str
    category: str


@dataclass(frozen=True)
class Preview:
    """`train` and `eval` count prompts that differ, in the first `rows` rows: of the whole file where `is_whole`."""

    first: tuple[PreviewRow, ...]
    ignored: tuple[str, ...]
    train: int
    eval: int
    rows: int
    is_whole: bool

    @property
    def has_categories(self) -> bool:
        return any(row.category for row in self.first)


def preview(import_: Import) -> Preview | None:
    """Read the beginning of its kept file; None once the file is gone, or where it cannot be read."""
    path = kept_files.path_of(import_.file_hash)
    if not path.exists():
        return None
    how, percent = options.how_to_read(import_), import_.project.eval_percent
    try:
        source = reading.portions(path, import_.file_name, how, eval_percent=percent)
        portions = list(islice(source, _PORTIONS + 1))
        source.close()
        ignored = _ignored_columns(import_, how)
    except (ValueError, OSError):  # what is wrong stands in the import itself
        return None
    read = portions[:_PORTIONS]
    ready = [item for portion in read for item in portion.ready]
    sides = Counter({item.text_hash: item.side for item in ready}.values())
    first = tuple(_row(item.line, item.item) for item in ready[:_ROWS])
    rows = sum(portion.rows for portion in read)
    return Preview(first, ignored, sides[Split.TRAIN], sides[Split.EVAL], rows, len(portions) <= _PORTIONS)


def _row(line: int, item: Item) -> PreviewRow:
    system = next((turn["content"] for turn in item.messages if turn["role"] == "system"), "")
    return PreviewRow(line, KIND_OF[type(item)], item.messages[-1]["content"], system, item.category)


def _ignored_columns(import_: Import, how: reading.HowToRead) -> tuple[str, ...]:
    """Return the columns of the first rows without which exactly the same would be read."""
    read_row = formats.mapped(how.columns) if how.columns else formats.READERS[how.format]
    with kept_files.path_of(import_.file_hash).open("rb") as file:
        source = read_rows(file, import_.file_name, how.container)
        rows = [row.row for row in islice(source, _ROWS) if not row.problem]
    ignored: dict[str, bool] = {}
    for row in rows:
        whole = _read(read_row, row)
        for name in row:
            less = _read(read_row, {other: value for other, value in row.items() if other != name})
            ignored[name] = ignored.get(name, True) and less == whole
    return tuple(name for name, is_ignored in ignored.items() if is_ignored)


def _read(read_row: Any, row: dict[str, Any]) -> list[Item] | None:
    """Return what is used of a row; None where it cannot be read. What is only kept for an export is not used."""
    try:
        return [replace(item, extra={}) for item in read_row(row, 1)]
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return None
