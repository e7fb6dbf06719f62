"""A checked annotation as the rows that it is stored in, and the rows of an item that still stand."""

from __future__ import annotations

from typing import Any

from django.db.models import Value
from django.utils import timezone

from annotate.core.db.prepared import Prepared, Slot
from annotate.data import rankings
from annotate.labelling.forms.validation import Checked
from annotate.models import Assignment, Comparison, Demonstration, Guideline, Ranking, Rating, Span, Status
from annotate.models.feedback import Feedback, annotator_kind_of

# What fills an item's place, in the order in which one of them is the receipt. A flag is none: the item stays open.
TABLES: tuple[type[Any], ...] = (Ranking, Comparison, Rating, Demonstration, Span)
STANDING = (Status.COUNTED, Status.HELD)


def rows_of(assignment: Assignment) -> list[Any]:
    """Return all that was ever said of it, pairs of rankings included."""
    return [row for table in TABLES for row in table.objects.filter(assignment=assignment)]


def standing_rows(assignment: Assignment) -> list[Any]:
    return [row for row in rows_of(assignment) if row.status in STANDING]


def _with_key() -> Any:
    parts = [
        table.objects.filter(idempotency_key=Slot("key")).order_by().annotate(of=Value(i)).values_list("of", "pk")
        for i, table in enumerate(TABLES)
    ]
    return parts[0].union(*parts[1:], all=True)


_sent = Prepared(_with_key)
_versions = Prepared(
    lambda: (
        Guideline.objects.filter(project=Slot("project"), created_at__lte=Slot("at"))
        .order_by("-version")
        .values_list("version")[:1]
    )
)


def sent_with(key: str) -> Any | None:
    """Return the row that this key stored: the annotation before an answer that came with it. One query over all the
    tables."""
    rows = sorted(_sent.rows(key=key))
    return TABLES[rows[0][0]].objects.get(pk=rows[0][1]) if rows else None


def write(
    assignment: Assignment, checked: Checked, key: str | None, *, status: str = Status.COUNTED, reason: str = ""
) -> list[Feedback]:
    """Return the rows, the receipt first. Time and comment stand with the annotation and with the answer, once each."""
    said = checked.said
    about = _about(assignment) | {"status": status, "status_reason": reason}
    told = {"seconds": _seconds(assignment, said.seconds), "idempotency_key": key or None, "comment": said.comment}
    rows: list[Feedback] = []
    if said.winner is not None:
        ends = {"completion_a_id": assignment.completion_a_id, "completion_b_id": assignment.completion_b_id}
        rows.append(Comparison.objects.create(winner=said.winner, strength=said.strength, **ends, **about, **told))
    if said.is_rating:
        marks = {"thumbs": said.thumbs, "stars": said.stars, "aspects": said.aspects}
        assert assignment.completion_a_id is not None  # a constraint of rating assignments
        rows.append(Rating.objects.create(completion_id=assignment.completion_a_id, **marks, **about, **told))
    if said.rank is not None:
        rows.append(_write_ranking(assignment, said.rank, about, told))
    if said.text is not None:
        rows.append(Demonstration.objects.create(text=said.text, edited_from=said.edited_from, **about, **told))
    for mark in checked.marks:
        marked = {"completion": mark.completion, "start": mark.start, "end": mark.end, "label": mark.label}
        rows.append(Span.objects.create(text=mark.text, **marked, **about, **({} if rows else told)))
    return rows


def _write_ranking(assignment: Assignment, order: list[list[int]], about: dict, told: dict) -> Ranking:
    """Return the ranking, and its pairs: these tell neither time nor comment, which would count several times."""
    ranking = Ranking.objects.create(order=order, **about, **told)
    Comparison.objects.bulk_create(
        Comparison(
            completion_a_id=pair.completion_a,
            completion_b_id=pair.completion_b,
            winner=pair.winner,
            ranking=ranking,
            **about,
        )
        for pair in rankings.pairs(order, assignment.shown)
    )
    return ranking


def _about(assignment: Assignment) -> dict[str, Any]:
    return {
        "project": assignment.project,
        "prompt_id": assignment.prompt_id,
        "assignment": assignment,
        "author": assignment.user,
        "judge": annotator_kind_of(assignment.user),
        "guideline_version": _guideline_version(assignment),
    }


def _seconds(assignment: Assignment, claimed: float | None) -> float | None:
    """Nobody has looked at an item for longer than they have had it. A simulation's time is made up: it stays."""
    if claimed is None or assignment.user.is_simulated:
        return claimed
    return round(min(claimed, (timezone.now() - assignment.created_at).total_seconds()), 2)


def _guideline_version(assignment: Assignment) -> int | None:
    """Return the version in force when the item was handed out: what its annotator can have read."""
    found = _versions.first(project=assignment.project_id, at=assignment.created_at)
    return found[0] if found else None
