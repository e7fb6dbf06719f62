"""Run small work that must be done whether or not anybody looks: imports, deliveries, votes to be held.

Each periodic task is a function that does a little and says whether there is more to do at once. The background worker
(`manage.py run_background_worker`) calls them in turn. Each app registers its own with `PERIODIC_TASKS`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Model

from annotate.core.db.connections import AWAY
from annotate.core.hooks import Hook

Row = TypeVar("Row", bound=Model)


def _nothing() -> None:
    """Do nothing: most periodic tasks hold nothing between two calls."""


@dataclass(frozen=True)
class PeriodicTask:
    """A task called every `every` seconds at most, unless the last call said that more waits. `end` gives back what it
    holds.

    One that finds its work in the database alone `rests` while nothing changes there, for some seconds at most. It does
    not while something is `in_hand`: what it has begun, and goes on without a row that says so."""

    name: str
    do: Callable[[], bool]
    every: float = 1.0
    end: Callable[[], None] = _nothing
    rests: bool = True
    in_hand: Callable[[], object] = _nothing


PERIODIC_TASKS: Hook[PeriodicTask] = Hook(
    "periodic tasks",
    "Small work that the background worker does in turn, each task by its name.",
    key=lambda chore: chore.name,
)


def each_alone(rows: Iterable[Row], act: Callable[[Row], object], log: logging.Logger, trouble: str) -> None:
    """Call `act` with each row. One that fails holds up no other: it is logged as `trouble`, whose %s becomes its kind
    and number, and comes again with the task. Raises what says that the database is away, which is so for all rows."""
    for row in rows:
        try:
            act(row)
        except AWAY:
            raise
        except Exception:
            log.exception(trouble, f"{row._meta.verbose_name} {row.pk}")
