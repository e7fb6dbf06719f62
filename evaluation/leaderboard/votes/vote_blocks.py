"""Read the votes that count as arrays, block by block, for what counts alone cannot tell.

One block is held at a time, whatever the number of votes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

import numpy as np
from django.db.models import Case, Count, F, IntegerField, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce

from annotate.models import Comparison, Project, Status, StatusChange
from annotate.models.feedback import FeedbackQuerySet
from evaluation.ratings import LABELS

SIZE = 65_536
ORDERS = ("voter", "time")
FIRST_VISITOR = 1 << 60  # accounts are numbered below, visitors from here on
_KEPT = 100_000  # visitors whose numbers are remembered
SAID = Case(*(When(winner=label, then=Value(code)) for code, label in enumerate(LABELS)), output_field=IntegerField())


class Block(NamedTuple):
    """Equally long arrays of integers: `voter` is an account's id, or from FIRST_VISITOR on a visitor's number.

    `a` and `b` are models: places in the `models` asked for, or ids when none were. `label` is the place in LABELS,
    `times` how many such votes. A visitor's number holds within one pass over blocks.
    """

    voter: np.ndarray
    a: np.ndarray
    b: np.ndarray
    label: np.ndarray
    times: np.ndarray


def comparisons(project: Project, judge: str) -> FeedbackQuerySet:
    """Return comparisons that could rank models, whatever their status."""
    return Comparison.objects.ranking(judge).filter(project=project).order_by()


def counted(
    project: Project,
    judge: str,
    *,
    category: str | None = None,
    language: str | None = None,
    until: datetime | None = None,
) -> FeedbackQuerySet:
    """Return the comparisons that count, or that counted at the moment `until`; of one category or language if
    asked."""
    rows = comparisons(project, judge) if until is None else comparisons_at(project, judge, until)
    if category is not None:
        rows = rows.filter(prompt__category=category)
    if language is not None:
        rows = rows.filter(prompt__found_language__language=language)
    return rows.filter(status=Status.COUNTED) if until is None else rows.filter(status_then=Status.COUNTED)


def comparisons_at(project: Project, judge: str, moment: datetime) -> FeedbackQuerySet:
    """Return those given up to the moment, with `status_then`: what the next change of status changed it from."""
    later = StatusChange.objects.filter(
        kind=Comparison._meta.model_name, feedback_id=OuterRef("pk"), created_at__gt=moment
    )
    status_then = Coalesce(Subquery(later.order_by("id").values("before")[:1]), F("status"))
    return comparisons(project, judge).filter(created_at__lte=moment).annotate(status_then=status_then)


def blocks(
    project: Project,
    judge: str,
    *,
    order: str = "voter",
    models: Sequence[int] | None = None,
    category: str | None = None,
    language: str | None = None,
    until: datetime | None = None,
    size: int = SIZE,
) -> Iterator[Block]:
    """Yield the votes that count, ascending by voter (a voter's equal votes in one row) or in the order they were
    given.

    Raises ValueError on an order that there is not, and on a vote about a model that is not among `models`.
    """
    rows = counted(project, judge, category=category, language=language, until=until).annotate(label=SAID)
    columns = ("author_id", "visitor", "completion_a__model", "completion_b__model", "label")
    if order == "voter":
        yield from _by_voter(rows.values_list(*columns).annotate(n=Count("id")), models, size)
    elif order == "time":
        singly = rows.order_by("id").annotate(n=Value(1)).values_list(*columns, "n")
        visitors = _Hashes()
        yield from (_block(chunk, models, visitors) for chunk in _chunks(singly.iterator(size), size))
    else:
        raise ValueError(f"votes come by {' or '.join(ORDERS)}, not by {order!r}.")


def _by_voter(rows: QuerySet, models: Sequence[int] | None, size: int) -> Iterator[Block]:
    """Yield people by their accounts, then visitors in the database's order, numbered as they come."""
    people = rows.filter(author__isnull=False).order_by("author_id")
    for chunk in _chunks(people.iterator(size), size):
        yield _block(chunk, models, {})
    visitors, numbers = rows.filter(author__isnull=True).order_by("visitor"), _Numbers()
    for chunk in _chunks(visitors.iterator(size), size):
        yield _block(chunk, models, numbers)


class _Numbers(dict[str, int]):
    """Number visitors as they come: only the last one can come again, so no more are kept."""

    count = 0

    def __missing__(self, visitor: str) -> int:
        self.clear()
        self.count += 1
        self[visitor] = FIRST_VISITOR + self.count
        return self[visitor]


class _Hashes(dict[str, int]):
    """Number visitors by a hash of their name, in whatever order they come."""

    def __missing__(self, visitor: str) -> int:
        if len(self) >= _KEPT:
            self.clear()
        digest = hashlib.blake2b(visitor.encode(), digest_size=7).digest()
        self[visitor] = FIRST_VISITOR + int.from_bytes(digest, "big")
        return self[visitor]


def _chunks(rows: Iterable[tuple], size: int) -> Iterator[list[tuple]]:
    rows = iter(rows)
    while chunk := list(islice(rows, size)):
        yield chunk


def _block(rows: list[tuple], models: Sequence[int] | None, visitors: dict[str, int]) -> Block:
    """Make a block of rows (author, visitor, model A, model B, label, how many)."""
    author, visitor, *columns = zip(*rows, strict=True)
    voter = [pk if pk is not None else visitors[name] for pk, name in zip(author, visitor, strict=True)]
    a, b, label, count = (np.array(column, dtype=np.int64) for column in columns)
    if models is not None:
        a, b = places(a, models), places(b, models)
    return Block(np.array(voter, dtype=np.int64), a, b, label, count)


def places(ids: np.ndarray, models: Sequence[int]) -> np.ndarray:
    """Return the indices in `models` of these ids. Raises ValueError on an id that is not among them."""
    model_ids = np.array(models, dtype=np.int64)
    order = np.argsort(model_ids)
    positions = np.searchsorted(model_ids, ids, sorter=order)
    indices = order[np.minimum(positions, len(model_ids) - 1)] if len(model_ids) else positions
    if not len(model_ids) or np.any(model_ids[indices] != ids):
        raise ValueError("a vote names a model that is not in the list of models: read the counts again.")
    return indices
