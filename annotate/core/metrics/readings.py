"""Read figures of the whole installation from the database when Prometheus asks, for all processes alike.

Whatever computes them asks a bounded number of rows: by an index, or the newest so many. They are asked at most every
`HOLDS_SECONDS` by one thread of a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from annotate.core.hooks import Hook

HOLDS_SECONDS = 5.0
Values = Mapping[Any, float]  # by a tuple of labels


@dataclass(frozen=True)
class Reading:
    """Hold one gauge with its values by their labels, of which each has the names in `labels`."""

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    values: Values = field(default_factory=dict)


READINGS: Hook[Callable[[], Iterator[Reading]]] = Hook(
    "metrics", "Called when Prometheus asks, at most every few seconds: yields gauges that the database tells."
)


def read_all() -> list[Reading]:
    """Return the readings of all apps. Raises what the database raises."""
    try:
        return [reading for read in READINGS.values() for reading in read()]
    finally:
        if not connection.in_atomic_block:
            connection.close()
