"""Who may look at whose votes, and the way from a vote to what it trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from annotate import sides
from annotate.actions.pairing import ARENA
from annotate.models import Comparison, Dataset, Demonstration, Project, Prompt, Rating
from annotate.permissions import Person, can

TITLES = {"comparison": "Comparisons", "rating": "Ratings", "demonstration": "Demonstrations"}
KINDS = {"comparison": Comparison, "rating": Rating, "demonstration": Demonstration}
_COMPLETIONS = {
    "comparison": ("completion_a__model", "completion_b__model"),
    "rating": ("completion__model",),
    "demonstration": ("edited_from__model",),
}


def visible(kind: str, *, project: Project, user: Person) -> QuerySet[Any]:
    """All for reviewers. Others see their own, the arena's, and what is frozen: a vote on an item that somebody is
    still judging would tell them what to say. What a visitor has asked is between them and the reviewers."""
    rows = KINDS[kind].objects.filter(project=project)
    if can(user, "review", project):
        return rows
    frozen = Exists(Dataset.objects.filter(**{f"{kind}s": OuterRef("pk")}))
    mine = Q(author=user) if user.is_authenticated else Q(pk=None)
    return rows.filter(mine | (Q(source=ARENA) | frozen) & ~Q(prompt__source=ARENA))


def asked_in_the_arena(project: Project, conversations: Iterable[list[dict[str, str]]]) -> set[str]:
    """The hashes (`sides.text_hash`) of those conversations that somebody asked there: not for other visitors."""
    hashes = {sides.text_hash(messages) for messages in conversations}
    found = Prompt.objects.filter(project=project, source=ARENA, text_hash__in=hashes)
    return set(found.values_list("text_hash", flat=True))


def with_lineage(rows: QuerySet[Any], kind: str) -> QuerySet[Any]:
    """Each row with its texts and models, the datasets it is in, their runs, and the models that those made."""
    datasets = Dataset.objects.order_by("id").prefetch_related("runs__output_model")
    return rows.select_related("prompt", "author", *_COMPLETIONS[kind]).prefetch_related(Prefetch("datasets", datasets))


def of_model(rows: QuerySet[Any], kind: str, model_id: int) -> QuerySet[Any]:
    """Those about an answer of this model."""
    about = Q()
    for path in _COMPLETIONS[kind]:
        about |= Q(**{path: model_id})
    return rows.filter(about)
