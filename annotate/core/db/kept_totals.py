"""Count rows exactly while they are few; of many, count once in some minutes and keep the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.core.cache import cache
from django.db.models import Model, QuerySet

LARGE = 50_000
SECONDS = 300

Totals = TypeVar("Totals")
Row = TypeVar("Row", bound=Model)


class CountedRows(Generic[Row]):
    """Rows of which several things are counted; whether they are many is asked once, and again after SECONDS.

    `name` tells them from all others, of other projects as well.
    """

    def __init__(self, name: str, rows: QuerySet[Row]) -> None:
        self.name, self.rows = name.replace(" ", "-"), rows
        self.are_many = bool(cache.get(f"many-{self.name}"))  # counting to LARGE takes longer than most queries
        if not self.are_many and is_large(rows):
            self.are_many = True
            cache.set(f"many-{self.name}", True, SECONDS)

    def totals(self, what: str, count: Callable[[], Totals]) -> Totals:
        """Return what `count` returns; where it reads many rows, it is up to SECONDS old."""
        if not self.are_many:
            return count()
        key = f"totals-{what.replace(' ', '-')}-{self.name}"
        if (kept := cache.get(key)) is None:
            kept = count()
            cache.set(key, kept, SECONDS)
        return kept


def kept_totals(name: str, rows: QuerySet[Any], count: Callable[[], Totals]) -> Totals:
    """Return what `count` returns of rows of which only this is counted (`CountedRows`)."""
    return CountedRows(name, rows).totals("all", count)


def is_large(rows: QuerySet[Any]) -> bool:
    return rows.order_by().values("pk")[: LARGE + 1].count() > LARGE
