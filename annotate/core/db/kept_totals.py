"""Count rows exactly while they are few; of many, count once in some minutes and keep the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from django.core.cache import cache
from django.db.models import QuerySet

LARGE = 50_000
SECONDS = 300

Totals = TypeVar("Totals")


def kept_totals(name: str, rows: QuerySet[Any], count: Callable[[], Totals]) -> Totals:
    """Return what `count` returns. Where it reads more than LARGE `rows`, it is up to SECONDS old.

    `name` tells these totals from all others, of other projects as well.
    """
    if not is_large(rows):
        return count()
    key = f"totals-{name.replace(' ', '-')}"
    if (totals := cache.get(key)) is None:
        totals = count()
        cache.set(key, totals, SECONDS)
    return totals


def is_large(rows: QuerySet[Any]) -> bool:
    return rows.order_by().values("pk")[: LARGE + 1].count() > LARGE
