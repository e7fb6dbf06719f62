"""Read what is new in the ledger: comparisons and changes of status, each row once, whenever it becomes visible.

Rows are numbered when they are written and seen when they are committed, so on Postgres a lower number can turn up
after a higher one was read. A number that is missing when the cursor passes it is therefore remembered, as a range, and
looked for again until no transaction is left that could still bring it (docs/adr/0010-counts-follow-the-ledger.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

from django.db import connection
from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from annotate.models import Comparison, StatusChange

BLOCK = 50_000  # rows of one look
PATIENCE = 60.0  # seconds that a missing number is waited for at least
_LONG_AGO = 3600.0  # seconds: clocks of two machines do not differ by as much
_AT_ONCE = 100  # ranges in one query
_MOST_IDS = 500
_CHANGE = ("id", "kind", "feedback_id", "before", "after")
COMPARISON = "comparison"  # as the ledger of statuses names it


class NewVote(NamedTuple):
    """A comparison as it was when it was given; later changes of its status are rows of their own."""

    id: int
    project: int
    judge: str
    side: str
    prompt: int
    category: str
    language: str | None
    a: int | None
    b: int | None
    winner: str
    status: str


class Change(NamedTuple):
    id: int
    kind: str
    vote: int
    before: str
    after: str


class Missing(NamedTuple):
    """Hold the numbers `low` to `high` that were not there at `seen_at`.

    When transactions below `horizon` have ended, none comes any more. A horizon of 0 is not known yet.
    """

    low: int
    high: int
    seen_at: float
    horizon: int = 0


class Moment(NamedTuple):
    """Say when the ledger is read: in which transaction, and which is the oldest that still runs (maybe the same)."""

    now: float
    own_transaction: int
    oldest: int


Row = TypeVar("Row", NewVote, Change)


@dataclass(frozen=True)
class News(Generic[Row]):
    """New rows, the cursor after them, what is still missing, and whether there is more to read."""

    rows: list[Row]
    last: int
    missing: list[Missing]
    is_more: bool


def new_votes(last: int, missing: Sequence[Missing]) -> News[NewVote]:
    return _news(_votes(), NewVote._make, last, missing)


def new_changes(last: int, missing: Sequence[Missing]) -> News[Change]:
    return _news(
        StatusChange.objects.values_list("id", "kind", "feedback_id", "before", "after"), Change._make, last, missing
    )


def votes_of(ids: Sequence[int]) -> Iterator[NewVote]:
    """Return comparisons by their ids."""
    for first in range(0, len(ids), _MOST_IDS):
        yield from (NewVote(*row) for row in _votes().filter(id__in=ids[first : first + _MOST_IDS]))


def everything(last: int, missing: Sequence[Missing], prompt: int | None = None) -> Iterator[NewVote]:
    """Yield all comparisons up to `last` but for those that are missing still; those on one prompt if asked."""
    on_it = {} if prompt is None else {"prompt": prompt}
    rows = _votes().filter(_without_ranges(missing), id__lte=last, **on_it)
    yield from map(NewVote._make, rows.iterator(BLOCK))


def all_changes(last: int, missing: Sequence[Missing], prompt: int | None = None) -> Iterator[Change]:
    """Yield all changes of comparisons' statuses up to `last` but for those that are missing still; those on one prompt
    if asked."""
    rows = StatusChange.objects.filter(_without_ranges(missing), id__lte=last, kind=COMPARISON)
    if prompt is not None:
        rows = rows.filter(feedback_id__in=Comparison.objects.filter(prompt=prompt).order_by().values("id"))
    yield from (Change(*row) for row in rows.order_by("id").values_list(*_CHANGE).iterator(BLOCK))


def _without_ranges(missing: Sequence[Missing]) -> Q:
    condition = Q()
    for gap in missing:
        condition &= ~Q(id__range=(gap.low, gap.high))
    return condition


def _votes() -> QuerySet:
    """Return votes with the status that each began with, in one statement, so that both are of one moment."""
    changes = StatusChange.objects.filter(kind=COMPARISON, feedback_id=OuterRef("pk")).order_by("id")
    return Comparison.objects.order_by().values_list(
        *("id", "project_id", "judge", "prompt__side", "prompt_id", "prompt__category"),
        *("prompt__found_language__language", "completion_a__model", "completion_b__model", "winner"),
        Coalesce(Subquery(changes.values("before")[:1]), F("status")),
    )


def _news(rows: QuerySet, kind: Callable[[Iterable[Any]], Any], last: int, missing: Sequence[Missing]) -> News:
    moment = _moment()  # before the rows are read: what has ended by now is among them
    late_rows = list(map(kind, _in_ranges(rows, missing)))
    gaps = list(_without(missing, sorted(row.id for row in late_rows)))
    rows = rows.filter(id__gt=last).order_by("id")
    if connection.vendor == "postgresql":
        rows_read = list(rows.annotate(written=F("created_at"))[:BLOCK])
        gaps += _gaps(last, [(row[0], row[-1].timestamp()) for row in rows_read], moment)
        new = [kind(row[:-1]) for row in rows_read]
    else:  # SQLite's writers come one after the other, and number without gaps
        new = list(map(kind, rows[:BLOCK]))
    gaps = [remaining for gap in gaps if (remaining := waited_for(gap, moment))]
    return News(late_rows + new, new[-1].id if new else last, gaps, len(new) == BLOCK)


def _gaps(last: int, rows: Sequence[tuple[int, float]], moment: Moment) -> Iterator[Missing]:
    """Yield the ids missing between those of the rows. They were drawn before the row above them, perhaps long ago."""
    for (below, _), (above, written_at) in pairwise([(last, 0.0), *rows]):
        if above - below > 1:
            yield Missing(below + 1, above - 1, written_at if written_at < moment.now - _LONG_AGO else moment.now)


def waited_for(gap: Missing, moment: Moment) -> Missing | None:
    """Return the gap as it is to be remembered; None when no transaction is left that could have drawn its numbers.

    A transaction is numbered right after it draws the number of its first row; the patience covers that instant. After
    it, whoever drew has a number below our own.
    """
    if moment.now - gap.seen_at <= PATIENCE:
        return gap
    horizon = gap.horizon or moment.own_transaction
    return None if moment.oldest >= horizon else gap._replace(horizon=horizon)


def _in_ranges(rows: QuerySet, missing: Sequence[Missing]) -> Iterator[tuple]:
    for first in range(0, len(missing), _AT_ONCE):
        ranges = Q()
        for gap in missing[first : first + _AT_ONCE]:
            ranges |= Q(id__range=(gap.low, gap.high))
        yield from rows.filter(ranges)


def _without(missing: Iterable[Missing], numbers: Sequence[int]) -> Iterator[Missing]:
    """Yield the ranges without the numbers found, which may cut one in two."""
    for gap in missing:
        low = gap.low
        for number in (number for number in numbers if gap.low <= number <= gap.high):
            if number > low:
                yield gap._replace(low=low, high=number - 1)
            low = number + 1
        if low <= gap.high:
            yield gap._replace(low=low)


def _moment() -> Moment:
    if connection.vendor != "postgresql":
        return Moment(time.time(), 0, 0)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_current_xact_id()::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        )
        return Moment(time.time(), *cursor.fetchone())
