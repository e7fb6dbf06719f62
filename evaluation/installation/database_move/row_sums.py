"""Sum up the values of rows so that two databases have the same sum where they hold the same. Knows no database."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_MODULUS = 1 << 128


@dataclass
class RowSum:
    """Count rows, and add up their hashes: the order does not matter, for databases sort texts in their own ways."""

    count: int = 0
    total: int = 0

    def add(self, values: Sequence[Any], is_json: Sequence[bool]) -> None:
        text = repr([canonical(value, as_json) for value, as_json in zip(values, is_json, strict=True)])
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        self.count += 1
        self.total = (self.total + int.from_bytes(digest[:16])) % _MODULUS

    @property
    def checksum(self) -> str:
        return f"{self.total:032x}"


def sum_of(rows: Iterable[Sequence[Any]], is_json: Sequence[bool]) -> RowSum:
    total = RowSum()
    for values in rows:
        total.add(values, is_json)
    return total


def canonical(value: Any, as_json: bool = False) -> Any:
    """Return one form of a value, whatever the database gave: JSON as text with sorted keys, moments in UTC."""
    if as_json:
        return json.dumps(_plain(value), sort_keys=True)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat() if value.tzinfo else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    return value


def _plain(value: Any) -> Any:
    """Return JSON with each number in one form: Postgres keeps 1e16 as 10000000000000000, which reads as an int."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        exact = Decimal(repr(value))
        return int(exact) if exact.is_finite() and exact == exact.to_integral_value() else value
    return value
