"""List one person's annotations in a project, newest first: what was said, whether it counts, what it went into.

A receipt looks the same whatever its item was handed out for, and names no model: its reader may meet the answer again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import CharField, QuerySet, Value

from annotate.data import feedback_lineage
from annotate.labelling.forms.feedback_text import describe_feedback, letters_of
from annotate.models import Comparison, Completion, Demonstration, Project, Ranking, User
from common.sampling import cut_note

# Without the pairs of rankings, which are not annotations of their own, and without votes in the arena, which has a
# history itself.
TITLES = {**feedback_lineage.TITLES, "demonstration": "Answers of my own"}


@dataclass(frozen=True)
class Answer:
    """What was judged: its letter as shown, empty for one alone; `is_chosen` where the annotator found it better."""

    letter: str
    text: str
    cut: str
    is_chosen: bool = False


@dataclass(frozen=True)
class Receipt:
    kind: str
    row: Any
    words: str
    counted: bool
    answers: list[Answer]
    went: list[tuple[Any, Any, Any]]  # dataset, the run that used it, the model that this run made

    @property
    def id(self) -> int:
        return self.row.pk

    @property
    def created_at(self) -> datetime:
        return self.row.created_at


def mine(kind: str, *, project: Project, user: User) -> QuerySet[Any]:
    rows = feedback_lineage.KINDS[kind].objects.filter(project=project, author=user, assignment__isnull=False)
    return feedback_lineage.one_per_item(kind, rows)


def row_keys(*, project: Project, user: User, kind: str = "", status: str = "") -> QuerySet[Any]:
    """Return (kind, id) of each of them, newest first, over all the tables at once."""
    parts = []
    for name in [kind] if kind else feedback_lineage.KINDS:
        rows = mine(name, project=project, user=user).order_by()
        rows = rows.filter(status=status) if status else rows
        parts.append(rows.annotate(of=Value(name, CharField())).values_list("of", "pk", "created_at"))
    return parts[0].union(*parts[1:], all=True).order_by("-created_at", "-pk")


def receipts(row_keys: Sequence[tuple[str, int, datetime]]) -> list[Receipt]:
    """Return the receipts of these rows, in their order."""
    rows: dict[tuple[str, int], Any] = {}
    for kind in {kind for kind, _, _ in row_keys}:
        ids = [pk for name, pk, _ in row_keys if name == kind]
        kind_rows = feedback_lineage.with_lineage(feedback_lineage.KINDS[kind].objects.filter(pk__in=ids), kind)
        rows |= {(kind, row.pk): row for row in kind_rows.select_related("prompt", "assignment", "assignment__project")}
    completions = feedback_lineage.ranked_completions(row for (kind, _), row in rows.items() if kind == "ranking")
    return [_receipt(kind, rows[kind, pk], completions) for kind, pk, _ in row_keys]


def _receipt(kind: str, row: Any, completions: dict[int, Completion]) -> Receipt:
    answers = _answers(row, completions)
    return Receipt(kind, row, describe_feedback(row), row.status == "counted", answers, feedback_lineage.went_into(row))


def _answers(row: Any, completions: dict[int, Completion]) -> list[Answer]:
    lettered = _shown(row, completions)
    completions_shown = [answer for _, answer in lettered]
    chosen = _chosen(row)
    return [
        Answer(letter, answer.text, cut_note(answer, completions_shown), answer.pk in chosen)
        for letter, answer in lettered
    ]


def _chosen(row: Any) -> set[int]:
    """Return the ids of the completions that were found best."""
    if isinstance(row, Comparison):
        return {{"model_a": row.completion_a_id, "model_b": row.completion_b_id}.get(row.winner, 0)}
    return set(row.order[0]) if isinstance(row, Ranking) and row.order else set()


def _shown(row: Any, completions: dict[int, Completion]) -> list[tuple[str, Completion]]:
    if isinstance(row, Comparison):
        return [("A", row.completion_a), ("B", row.completion_b)]
    if isinstance(row, Ranking):
        return [(letter, completions[pk]) for pk, letter in letters_of(row).items() if pk in completions]
    about = row.edited_from if isinstance(row, Demonstration) else row.completion
    return [("", about)] if about else []
