"""Count rows exactly while they are few; of many, count once in some minutes and keep the result.

Where people look all the time nobody waits for the count: a look that finds an older result has it counted anew beside
it, by one of all processes, before it is too old to be shown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from django.core.cache import cache
from django.db import connections
from django.db.models import Model, QuerySet

LARGE = 50_000
SECONDS = 300
AHEAD = 120  # older results are counted anew beside whoever looks
_counting = ThreadPoolExecutor(1, "totals")
log = logging.getLogger(__name__)

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
        key = f"counted-{what.replace(' ', '-')}-{self.name}"
        if (found := cache.get(key)) is None:
            return _count(key, count)
        counted_at, kept = found
        if time.time() - counted_at > AHEAD and cache.add(f"{key}-again", True, AHEAD):
            _counting.submit(_count_beside, key, count)
        return kept


def _count(key: str, count: Callable[[], Totals]) -> Totals:
    began, totals = time.time(), count()
    cache.set(key, (began, totals), SECONDS)
    return totals


def _count_beside(key: str, count: Callable[[], Any]) -> None:
    """Count in a thread of its own. What goes wrong, whoever looks when the result is too old gets told."""
    try:
        _count(key, count)
    except Exception as error:
        log.warning("%s could not be counted: %s", key, error)
    finally:
        connections.close_all()


def kept_totals(name: str, rows: QuerySet[Any], count: Callable[[], Totals]) -> Totals:
    """Return what `count` returns of rows of which only this is counted (`CountedRows`)."""
    return CountedRows(name, rows).totals("all", count)


def is_large(rows: QuerySet[Any]) -> bool:
    return rows.order_by().values("pk")[: LARGE + 1].count() > LARGE
