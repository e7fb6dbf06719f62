"""Read what is new in the ledger: comparisons and changes of status, each row once, whenever it becomes visible.

Rows are numbered when they are written and seen when they are committed, so on Postgres a lower number can turn up
after a higher one was read. A number that is missing when the cursor passes it is therefore remembered, as a range, and
looked for again until no transaction is left that could still bring it (docs/adr/0010-counts-follow-the-ledger.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, NamedTuple, TypeVar

from django.db import connection
from django.db.models import Case, Count, F, Max, OuterRef, Q, QuerySet, Subquery, When
from django.db.models.functions import Coalesce

from annotate.models import Comparison, StatusChange
from evaluation.leaderboard.votes.alike import Alike, NewVote, alike, grouped

BLOCK = 100_000  # rows of one look
ROWS = 50_000  # that are held one by one
PATIENCE = 60.0  # seconds that a missing number is waited for at least
_LONG_AGO = 3600.0  # seconds: clocks of two machines do not differ by as much
_AT_ONCE = 100  # ranges in one query
_MOST_IDS = 500
_CHANGE = ("id", "kind", "feedback_id", "before", "after")
COMPARISON = "comparison"  # as the ledger of statuses names it


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


Row = TypeVar("Row", Alike, Change)


@dataclass(frozen=True)
class News(Generic[Row]):
    """New rows, the cursor after them, what is still missing, and whether there is more to read."""

    rows: list[Row]
    last: int
    missing: list[Missing]
    is_more: bool


def new_votes(last: int, missing: Sequence[Missing]) -> News[Alike]:
    """Return the new votes that could rank models, put together where they are alike."""
    moment = _moment()  # before the rows are read: what has ended by now is among them
    late = list(map(NewVote._make, _in_ranges(_votes(), missing)))
    # The last id is asked for by itself: with a limit on rows that are joined, Postgres may plan as if few were read.
    block = Comparison.objects.filter(id__gt=last).order_by("id")[:BLOCK].aggregate(end=Max("id"), rows=Count("id"))
    rows = _votes().annotate(written=F("created_at")).filter(id__gt=last, id__lte=block["end"] or last).order_by("id")
    groups = grouped(rows, last) if block["rows"] else []
    gaps = [_gap(*gap, moment) for gap in sorted(gap for group in groups for gap in group.missing())]
    return News(
        alike(late) + [group.alike() for group in groups if group.could_rank],
        max((group.last for group in groups), default=last),
        _waited_for(_without(missing, sorted(row.id for row in late)), gaps, moment),
        block["rows"] == BLOCK,
    )


def new_changes(last: int, missing: Sequence[Missing]) -> News[Change]:
    rows, moment = StatusChange.objects.order_by("id"), _moment()
    late = list(map(Change._make, _in_ranges(rows.values_list(*_CHANGE), missing)))
    read = list(rows.filter(id__gt=last).values_list(*_CHANGE, "created_at")[:BLOCK])
    new = [Change._make(row[:-1]) for row in read]
    moments = [(row[0], row[-1].timestamp()) for row in read]
    gaps = _gaps(last, moments, moment) if connection.vendor == "postgresql" else ()  # SQLite's numbers have none
    return News(
        late + new,
        new[-1].id if new else last,
        _waited_for(_without(missing, sorted(row.id for row in late)), gaps, moment),
        len(new) == BLOCK,
    )


def votes_of(ids: Sequence[int]) -> Iterator[NewVote]:
    """Return comparisons by their ids."""
    for first in range(0, len(ids), _MOST_IDS):
        yield from (NewVote(*row) for row in _votes().filter(id__in=ids[first : first + _MOST_IDS]))


def everything(last: int, missing: Sequence[Missing], prompt: int | None = None) -> Iterator[NewVote]:
    """Yield all comparisons up to `last` but for those that are missing still; those on one prompt if asked."""
    on_it = {} if prompt is None else {"prompt": prompt}
    rows = _votes().filter(_without_ranges(missing), id__lte=last, **on_it)
    yield from map(NewVote._make, rows.iterator(ROWS))


def all_changes(last: int, missing: Sequence[Missing], prompt: int | None = None) -> Iterator[Change]:
    """Yield all changes of comparisons' statuses up to `last` but for those that are missing still; those on one prompt
    if asked."""
    rows = StatusChange.objects.filter(_without_ranges(missing), id__lte=last, kind=COMPARISON)
    if prompt is not None:
        rows = rows.filter(feedback_id__in=Comparison.objects.filter(prompt=prompt).order_by().values("id"))
    yield from (Change(*row) for row in rows.order_by("id").values_list(*_CHANGE).iterator(ROWS))


def _without_ranges(missing: Sequence[Missing]) -> Q:
    condition = Q()
    for gap in missing:
        condition &= ~Q(id__range=(gap.low, gap.high))
    return condition


def _votes() -> QuerySet:
    """Return votes with the status that each began with, in one statement, so that both are of one moment.

    Changes are looked up only between the lowest and the highest vote that has any.
    """
    changes = StatusChange.objects.filter(kind=COMPARISON).order_by("id")
    lowest, highest = (changes.order_by(way).values("feedback_id")[:1] for way in ("feedback_id", "-feedback_id"))
    first = Subquery(changes.filter(feedback_id=OuterRef("pk")).values("before")[:1])
    may_have_changed = When(id__range=(Subquery(lowest), Subquery(highest)), then=Coalesce(first, F("status")))
    return Comparison.objects.order_by().values_list(
        *("id", "project_id", "judge", "prompt__side", "prompt_id", "prompt__category"),
        *("prompt__found_language__language", "completion_a__model", "completion_b__model", "winner"),
        Case(may_have_changed, default=F("status")),
    )


def _gaps(last: int, rows: Sequence[tuple[int, float]], moment: Moment) -> Iterator[Missing]:
    """Yield the ids missing between those of the rows."""
    for (below, _), (above, written_at) in pairwise([(last, 0.0), *rows]):
        if above - below > 1:
            yield _gap(below, above, written_at, moment)


def _gap(below: int, above: int, written_at: float, moment: Moment) -> Missing:
    """Return the ids between. They were drawn before the row above them, perhaps long ago."""
    return Missing(below + 1, above - 1, written_at if written_at < moment.now - _LONG_AGO else moment.now)


def _waited_for(old: Iterable[Missing], new: Iterable[Missing], moment: Moment) -> list[Missing]:
    return [remaining for gap in (*old, *new) if (remaining := waited_for(gap, moment))]


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
