"""Store a checked annotation in its rows, and find the rows of an item that still stand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db.models import Value
from django.utils import timezone

from annotate.core.db.prepared import Prepared, Slot, ask
from annotate.core.db.prepared_writes import create
from annotate.data import rankings
from annotate.labelling.forms.validation import Checked
from annotate.models import Assignment, Comparison, Demonstration, Ranking, Rating, Span, Status
from annotate.models.feedback import Feedback, annotator_kind_of

# What fills an item's place, in the order in which one of them is the receipt. A flag is none: the item stays open.
TABLES: tuple[type[Any], ...] = (Ranking, Comparison, Rating, Demonstration, Span)
STANDING = (Status.COUNTED, Status.HELD)


def rows_of(assignment: Assignment) -> list[Any]:
    """Return all rows of an assignment ever, pairs of rankings included."""
    return [row for rows in ask(*(rows.asked(pk=assignment.pk) for rows in _of_assignment)) for row in rows]


_of_assignment = [Prepared(partial(table.objects.filter, assignment=Slot("pk"))) for table in TABLES]


def standing_rows(assignment: Assignment) -> list[Any]:
    return [row for row in rows_of(assignment) if row.status in STANDING]


def _with_key() -> Any:
    parts = [
        table.objects.filter(idempotency_key=Slot("key")).order_by().annotate(of=Value(i)).values_list("of", "pk")
        for i, table in enumerate(TABLES)
    ]
    return parts[0].union(*parts[1:], all=True)


_sent = Prepared(_with_key)


def sent_with(key: str) -> Any | None:
    """Return the row that this key stored: the annotation before an answer that came with it. One query over all the
    tables."""
    rows = sorted(_sent.rows(key=key))
    return TABLES[rows[0][0]].objects.get(pk=rows[0][1]) if rows else None


def write(
    assignment: Assignment,
    checked: Checked,
    key: str | None,
    version: int | None,
    *,
    status: str = Status.COUNTED,
    reason: str = "",
    create_first: Callable[[Feedback], Feedback] = create,
) -> list[Feedback]:
    """Store the rows and return them, the receipt first. Time and comment stand with the annotation and with the
    answer, once each. `version` is that of the guidelines; `create_first` stores the first row."""
    submission = checked.submission
    about = _about(assignment, version) | {"status": status, "status_reason": reason}
    receipt = {
        "seconds": _seconds(assignment, submission.seconds),
        "idempotency_key": key or None,
        "comment": submission.comment,
    }
    rows: list[Feedback] = []

    def store(row: Feedback) -> None:
        rows.append(create(row) if rows else create_first(row))

    if submission.winner is not None:
        ends = {"completion_a_id": assignment.completion_a_id, "completion_b_id": assignment.completion_b_id}
        store(Comparison(winner=submission.winner, strength=submission.strength, **ends, **about, **receipt))
    if submission.is_rating:
        marks = {"thumbs": submission.thumbs, "stars": submission.stars, "aspects": submission.aspects}
        assert assignment.completion_a_id is not None  # a constraint of rating assignments
        store(Rating(completion_id=assignment.completion_a_id, **marks, **about, **receipt))
    if submission.rank is not None:
        ranking = Ranking(order=submission.rank, **about, **receipt)
        store(ranking)
        Comparison.objects.bulk_create(_pairs_of(ranking, assignment, about))
    if submission.text is not None:
        store(Demonstration(text=submission.text, edited_from=submission.edited_from, **about, **receipt))
    for mark in checked.marks:
        marked = {"completion": mark.completion, "start": mark.start, "end": mark.end, "label": mark.label}
        store(Span(text=mark.text, **marked, **about, **({} if rows else receipt)))
    return rows


def is_one_row(checked: Checked) -> bool:
    """Return whether `write` stores no more than one row."""
    said = checked.submission
    parts = [said.winner is not None, said.is_rating, said.text is not None, *(True for _ in checked.marks)]
    return said.rank is None and sum(parts) == 1


def _pairs_of(ranking: Ranking, assignment: Assignment, about: dict[str, Any]) -> list[Comparison]:
    """Return the pairs of a ranking: they bear neither time nor comment, which would count several times."""
    return [
        Comparison(
            completion_a_id=pair.completion_a,
            completion_b_id=pair.completion_b,
            winner=pair.winner,
            ranking=ranking,
            **about,
        )
        for pair in rankings.pairs(ranking.order, assignment.shown)
    ]


def _about(assignment: Assignment, version: int | None) -> dict[str, Any]:
    return {
        "project": assignment.project,
        "prompt_id": assignment.prompt_id,
        "assignment": assignment,
        "author": assignment.user,
        "judge": annotator_kind_of(assignment.user),
        "guideline_version": version,
    }


def _seconds(assignment: Assignment, claimed: float | None) -> float | None:
    """Return the seconds claimed, at most since the item was handed out. A simulation's time is made up: it stays."""
    if claimed is None or assignment.user.is_simulated:
        return claimed
    return round(min(claimed, (timezone.now() - assignment.created_at).total_seconds()), 2)
