"""Build readers and writers of formats whose row is one item, so that a row that was read is written again unchanged.

A format says what an item is (`read`) and what its row is (`write`). Whatever the row written differs in from the row
read goes into the item's `extra`, and comes back out of it. Pure: no Django.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from annotate.data.formats import fields, guessing, items
from annotate.data.formats.items import Item, NewAttack, Row

ABSENT = "_absent"  # in `extra`: fields that the row did not have


def reader(name: str, read: Callable[[Row], Item], write: Callable[[Item], Row | None]) -> Callable:
    def read_row(row: Row, line: int) -> list[Item]:
        item = _with_told(read(row), row)
        return [items.changed(item, format=name, extra=_rest(row, write(item) or {}))]

    return read_row


def _with_told(item: Item, row: Row) -> Item:
    """Return the item with category, language and system message from fields of their own, whatever the format."""
    category = item.category or fields.optional(row, "category")
    language = item.language or fields.language(row)
    messages = item.messages if isinstance(item, NewAttack) else guessing.after_system(row, item.messages)
    if category == item.category and language == item.language and messages is item.messages:
        return item
    return items.changed(item, category=category, language=language, messages=messages)


def writer(name: str, write: Callable[[Item], Row | None]) -> Callable:
    """Return the writer. None from `write` says that the format has no row for it: a tie is no chosen and rejected."""

    def write_rows(of_items: Sequence[Item]) -> list[Row]:
        rows = ((item, write(item)) for item in of_items)
        return [with_extra(row, item, name) for item, row in rows if row is not None]

    return write_rows


def with_extra(row: Row, item: Item, name: str) -> Row:
    if item.format != name or not item.extra:
        return row
    absent = item.extra.get(ABSENT, ())
    extra = {field: value for field, value in item.extra.items() if field != ABSENT}
    return {field: value for field, value in row.items() if field not in absent} | extra


def _rest(row: Row, written_row: Row) -> Row:
    extra = {
        field: value for field, value in row.items() if field not in written_row or not _same(written_row[field], value)
    }
    absent = [field for field in written_row if field not in row]
    return extra | ({ABSENT: absent} if absent else {})


def _same(first: object, second: object) -> bool:
    return type(first) is type(second) and first == second
