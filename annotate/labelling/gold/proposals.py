"""Propose a gold item from what somebody said of one answer, or of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from annotate.models import Comparison, Completion, Project, Prompt, Rating
from common.winners import swapped

_TABLES: dict[str, type[Any]] = {"comparison": Comparison, "rating": Rating}
ASSIGNMENT = "assignment"


@dataclass(frozen=True)
class Proposal:
    """Hold the answers in a gold item's order, the smaller id first, and what the annotation says of them."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    expected: dict[str, list[Any]]


def annotation_of(project: Project, kind: str, pk: int) -> Comparison | Rating | None:
    """Return the comparison or rating with that id, or that of an assignment; None where there is none."""
    by = {"assignment": pk} if kind == ASSIGNMENT else {"pk": pk}
    for name, table in _TABLES.items():
        if kind in (ASSIGNMENT, name):
            rows = table.objects.filter(project=project, **by).order_by("-id")
            row = rows.select_related("prompt", *_answers_in(table)).first()
            if row is not None and not getattr(row, "ranking_id", None):
                return row
    return None


def proposal_of(annotation: Comparison | Rating) -> Proposal:
    if isinstance(annotation, Rating):
        expected: dict[str, list[Any]] = {}
        if annotation.stars is not None:
            expected["stars"] = [annotation.stars]
        if annotation.thumbs is not None:
            expected["thumbs"] = [annotation.thumbs]
        return Proposal(annotation.prompt, (annotation.completion,), expected)
    a, b, winner = annotation.completion_a, annotation.completion_b, annotation.winner
    if a.pk > b.pk:
        a, b, winner = b, a, swapped(winner)
    return Proposal(annotation.prompt, (a, b), {"winner": [winner]})


def _answers_in(table: type[Any]) -> tuple[str, ...]:
    names = ("completion_a", "completion_b") if table is Comparison else ("completion",)
    return tuple(f"{name}__prompt" for name in names)
