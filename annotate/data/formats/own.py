"""Our own rows, one for each item, with a place for all of it: the fields of items.py, and `type`.

    {"type": "comparison", "prompt": […], "completion_a", "completion_b", "winner", "strength", "author", …}

Lists and objects may stand as JSON in a cell, so that CSV holds them. Pure: no Django.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from annotate.data.formats import fields
from annotate.data.formats.items import KIND_OF, KINDS, Item, NewComparison, NewFlag, NewRanking, Row, changed

# Theirs in a file, where it is not the item's own name.
_COLUMN = {
    "messages": "prompt", "judge": "author", "a": "completion_a", "b": "completion_b", "text": "completion",
    "texts": "completions",
}  # fmt: skip
_JSON = ("aspects", "extra", "texts", "models", "order", "tags", "later_a", "later_b")
_NUMBERS = ("seconds", "rating", "min_harmlessness_score", "task_description_harmlessness_score")
_WHOLE = {"strength": (1, 3), "stars": (1, 5), "start": (0, 10**9), "end": (1, 10**9)}
_TRUTHS = ("thumbs", "is_ordered")


def fits(row: Row) -> bool:
    return isinstance(row.get("type"), str) and row["type"] in KINDS and "prompt" in row


def read(row: Row, line: int) -> list[Item]:
    kind = KINDS.get(str(row.get("type")))
    if kind is None:
        raise ValueError(f"has the type {row.get('type')!r:.30}; use one of {', '.join(KINDS)}.")
    values = {}
    for name in kind.__dataclass_fields__:
        column = _COLUMN.get(name, name)
        if row.get(column) not in (None, ""):
            values[name] = _read(name, row, column)
        elif name in ("a", "b", "text") and row.get(column) == "":
            values[name] = ""
    if kind is NewFlag and values.get("text") == "" and all(isinstance(value, str) for value in row.values()):
        del values["text"]  # in a table, nothing and an empty text look alike: it is the prompt that is flagged
    return [_item(kind, values)]


def _item(kind: type[Item], values: Row) -> Item:
    """Make an item of a row's values. TypeError names what is missing, but not in a reader's words."""
    values.setdefault("messages", None)
    if values["messages"] is None:
        raise ValueError("has no prompt.")
    required = {"a", "b", "text", "texts", "order", "winner", "start", "end", "label", "reason"} - {*values}
    missing = [name for name, field in kind.__dataclass_fields__.items() if name in required and _is_required(field)]
    if missing:
        raise ValueError(f"has no {' and no '.join(_COLUMN.get(name, name) for name in missing)}.")
    item = kind(**values)
    if isinstance(item, NewComparison):
        item = changed(item, winner=fields.winner(item.winner, "winner", item.model_a, item.model_b))
    if isinstance(item, NewRanking) and sorted(p for group in item.order for p in group) != [*range(len(item.texts))]:
        raise ValueError("has an order that does not contain each completion once.")
    return item


def _is_required(field: Any) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _read(name: str, row: Row, column: str) -> Any:
    if name == "messages":
        value = row[column]
        return fields.conversation(value, column) if fields.turns(value) else fields.question(fields.text(row, column))
    if name in _WHOLE:
        return fields.whole(row, column, *_WHOLE[name])
    if name in _NUMBERS:
        return fields.number(row, column)
    if name in _TRUTHS:
        return fields.truth(row, column)
    if name == "created_at":
        return fields.moment(row[column])
    if name == "answer":
        return fields.as_text(row, column)
    if name in _JSON:
        return _structured(name, fields.parsed(row[column]))
    return fields.text(row, column)


def _structured(name: str, value: Any) -> Any:
    type_: Any = dict if name in ("aspects", "extra") else list
    if not isinstance(value, type_):
        raise ValueError(f"has {_COLUMN.get(name, name)} that is not valid: {value!r:.60}.")
    if name == "aspects":  # a table has a column for each aspect that any row has
        return {aspect: fields.whole(value, aspect, 1, 5) for aspect, n in value.items() if n is not None}
    if name in ("texts", "models", "tags"):
        return tuple(str(text) for text in value)
    if name in ("later_a", "later_b"):
        return fields.conversation(value, name) if value else []
    return _order(value) if name == "order" else value


def _order(value: list[Any]) -> tuple[tuple[int, ...], ...]:
    if not all(isinstance(group, list) and group and all(type(index) is int for index in group) for group in value):
        raise ValueError(f"has an order that is not a list of groups of places, such as [[1], [0, 2]]: {value!r:.60}.")
    return tuple(tuple(group) for group in value)


def write(items: Sequence[Item]) -> list[Row]:
    return [_row(item) for item in items]


def _row(item: Item) -> Row:
    row: Row = {"type": KIND_OF[type(item)]}
    for name in type(item).__dataclass_fields__:
        row[_COLUMN.get(name, name)] = _written(name, getattr(item, name))
    return row


def _written(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if name == "extra":  # as text: rows differ in what they have here, and a table's columns do not
        return json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, tuple):
        return [list(element) if isinstance(element, tuple) else element for element in value]
    return value
