"""Write rows as COPY reads them in its text format, whole portions at a time.

psycopg writes a row at a time, and finds out anew for each value how it is written: four times as long. Here that is
found out for a column of many rows at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

_ROWS = 100  # in one text: the server reads the first ones while the others are written
_NULL = "\\N"
_NUL = "\0"  # which no text has that the database keeps
_AS_THEY_PRINT = (int, float, Decimal, UUID)


def copy_texts(rows: Sequence[tuple[Any, ...]], fixed: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the rows as texts for COPY, `fixed` at the end of each row. Raises TypeError on a value without a text."""
    end = "".join(f"\t{_text(value)}" for value in fixed) + "\n"
    for start in range(0, len(rows), _ROWS):
        columns = map(_column, zip(*rows[start : start + _ROWS], strict=True))
        yield end.join(map("\t".join, zip(*columns, strict=True))) + end


def _column(values: tuple[Any, ...]) -> Sequence[str]:
    """Return the texts of a column's values; all at once where they are of one type."""
    types = set(map(type, values))
    if types == {str}:
        joined = _NUL.join(values)
        escaped = _escaped(joined)
        if escaped is joined:
            return values
        if len(parts := escaped.split(_NUL)) == len(values):
            return parts
    elif types == {int}:
        return list(map(str, values))
    return list(map(_text, values))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return _escaped(value)
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, _AS_THEY_PRINT):
        return str(value)
    if isinstance(value, date):  # and datetime, which is one
        return value.isoformat()
    if isinstance(value, Jsonb):
        written = (value.dumps or json.dumps)(value.obj)
        return _escaped(written if isinstance(written, str) else written.decode())
    raise TypeError(f"COPY has no text for a value of {type(value).__name__}.")


def _escaped(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    return text
