"""Tell what each column of a file is read as, and which ones nothing reads, by changing one at a time. Pure: no Django.

So that it holds for every format, it asks the format's own reader: a mark that is added to a cell turns up in what the
cell becomes; a column that can be left out and changes nothing is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

from annotate.data.formats import ODD_ROW
from annotate.data.formats.items import Item, NewAnswers, Row
from annotate.data.rows.row_source import printable

Read = Callable[[Row, int], list[Item]]
_MARK = " (¤)"
_MOST_COLUMNS = 60
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_WORDS = {
    "messages": "prompt", "category": "category", "language": "language", "source_id": "id", "comment": "comment",
    "judge": "annotator", "created_at": "time", "seconds": "time",
    "model": "model", "models": "model", "model_a": "model", "model_b": "model",
    "text": "answer", "texts": "answer", "a": "answer", "b": "answer", "edited_from": "answer",
    "later_a": "answer", "later_b": "answer", "answer": "right answer",
}  # fmt: skip
_NOT_READ = ("extra", "format")
_UNREADABLE = (ValueError, *ODD_ROW)
_ANNOTATION = "annotation"


def column_uses(read: Read, rows: Sequence[Row]) -> dict[str, str]:
    """Return {column: what it is read as}, "" for one that nothing reads; `data.prompt` for what lies in an object.

    A column that is empty in all of these rows is left out, and so is all behind the first 60."""
    found: dict[str, str] = {}
    for row in rows:
        try:
            items = read(row, 1)
        except _UNREADABLE:
            continue
        for path in _paths(row):
            name = printable(".".join(path))
            if found.get(name) or (name not in found and len(found) >= _MOST_COLUMNS):
                continue
            found[name] = _use(read, row, path, items)
    return found


def _paths(row: Row) -> Iterator[tuple[str, ...]]:
    for name, value in row.items():
        if isinstance(value, Mapping) and value:
            yield from ((str(name), str(inner)) for inner, content in value.items() if content not in _EMPTY)
        elif value not in _EMPTY:
            yield (str(name),)


def _use(read: Read, row: Row, path: tuple[str, ...], items: list[Item]) -> str:
    value = _at(row, path)
    if isinstance(value, str):
        try:
            if use := next(_marked(read(_changed(row, path, value + _MARK), 1)), ""):
                return use
        except _UNREADABLE:
            pass  # no text that can be anything: see what comes without it
    try:
        without = read(_changed(row, path, None), 1)
    except _UNREADABLE:
        return "prompt" if isinstance(value, list) else _ANNOTATION
    return _difference(items, without)


def _at(row: Row, path: tuple[str, ...]) -> Any:
    value: Any = row
    for name in path:
        value = value[name]
    return value


def _changed(row: Row, path: tuple[str, ...], value: Any) -> Row:
    """Return the row with another value there; without the column for None."""
    name, rest = path[0], path[1:]
    inner = _changed(row[name], rest, value) if rest else value
    changed = {key: old for key, old in row.items() if key != name or inner is not None}
    return changed if inner is None else {key: inner if key == name else old for key, old in changed.items()}


def _marked(items: Sequence[Item]) -> Iterator[str]:
    for item in items:
        for turn in item.messages:
            if _MARK in turn["content"]:
                yield "system prompt" if turn["role"] == "system" else "prompt"
        for field in fields(item):
            if field.name not in (*_NOT_READ, "messages") and _MARK in repr(getattr(item, field.name)):
                yield _WORDS.get(field.name, _ANNOTATION)


def _difference(before: Sequence[Item], after: Sequence[Item]) -> str:
    if [type(item) for item in before] != [type(item) for item in after]:
        return "answer" if any(isinstance(item, NewAnswers) for item in before) else _ANNOTATION
    for one, other in zip(before, after, strict=True):
        for field in fields(one):
            if field.name not in _NOT_READ and getattr(one, field.name) != getattr(other, field.name):
                return _WORDS.get(field.name, _ANNOTATION)
    return ""
