"""Decide who may look at whose votes, and find the way from a vote to what it trained."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet

from annotate.core.permissions import Person, can
from annotate.models import Comparison, Completion, Dataset, Demonstration, Flag, Project, Prompt, Ranking, Rating, Span
from annotate.models.prompts import ARENA, ASKED_BY_PEOPLE
from common import splits

TITLES = {
    "comparison": "Comparisons",
    "rating": "Ratings",
    "ranking": "Rankings",
    "demonstration": "Demonstrations",
    "span": "Marked spans",
    "flag": "Flags",
}
KINDS: dict[str, type[Any]] = {
    "comparison": Comparison,
    "rating": Rating,
    "ranking": Ranking,
    "demonstration": Demonstration,
    "span": Span,
    "flag": Flag,
}
_COMPLETIONS = {
    "comparison": ("completion_a__model", "completion_b__model"),
    "rating": ("completion__model",),
    "ranking": ("pairs__completion_a__model", "pairs__completion_b__model"),
    "demonstration": ("edited_from__model",),
    "span": ("completion__model",),
    "flag": ("completion__model",),
}
TEACHING = tuple(kind for kind in KINDS if kind != "flag")


def one_per_item(kind: str, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return one row for each annotation: the pairs of a ranking are left out, and the ranking stands for them."""
    return rows.filter(ranking=None) if kind == "comparison" else rows


def visible(kind: str, *, project: Project, user: Person, each_pair: bool = False) -> QuerySet[Any]:
    """Return all rows for reviewers; for others their own, the arena's, and frozen ones.

    A vote on an item that somebody still annotates would tell them what to say. What somebody has asked is between them
    and the reviewers. With `each_pair` the pairs of a ranking are battles of their own, as the leaderboard counts them.
    """
    rows = KINDS[kind].objects.filter(project=project)
    rows = rows if each_pair else one_per_item(kind, rows)
    if can(user, "review", project):
        return rows
    if kind == "flag":  # for reviewers, and for whoever raised it
        return rows.filter(author=user) if user.is_authenticated else rows.none()
    frozen = Exists(Dataset.objects.filter(**{f"{kind}s": OuterRef("pk")}))
    is_own = Q(author=user) if user.is_authenticated else Q(pk=None)
    return rows.filter(is_own | (Q(source=ARENA) | frozen) & ~Q(prompt__source__in=ASKED_BY_PEOPLE))


def naming_authors(rows: QuerySet[Any], kind: str, *, user: Person) -> QuerySet[Any]:
    """Return those of a reader's rows that tell who wrote the answers: of the arena, one's own, and those whose answers
    were written for their battle alone.

    Answers that were sampled before come up again, and whoever found them here under their models' names would know
    whom to vote for.
    """
    if kind != "comparison":
        return rows.none()
    is_own = Q(author=user) if user.is_authenticated else Q(pk=None)
    return rows.filter(is_own | Q(completion_a__source=ARENA, completion_b__source=ARENA), source=ARENA)


def asked_in_the_arena(project: Project, conversations: Iterable[list[dict[str, str]]]) -> set[str]:
    """Return the hashes (`sides.text_hash`) of conversations that somebody asked in the arena, or that are about harm:
    not for other visitors."""
    hashes = {splits.text_hash(messages) for messages in conversations}
    is_private = Q(source=ARENA) | Q(harm__gt="")
    prompts = Prompt.objects.filter(is_private, project=project, text_hash__in=hashes)
    return set(prompts.values_list("text_hash", flat=True))


def with_lineage(rows: QuerySet[Any], kind: str) -> QuerySet[Any]:
    """Return each row with its texts and models, the datasets it is in, their runs, and the models that those made."""
    rows = rows.select_related("prompt", "author")
    # A ranking has its completions by id: see `ranked_completions`.
    rows = rows.select_related(*(("assignment",) if kind == "ranking" else _COMPLETIONS[kind]))
    if kind == "flag":
        return rows  # it teaches nothing
    datasets = Dataset.objects.order_by("id").prefetch_related("runs__output_model")
    return rows.prefetch_related(Prefetch("datasets", datasets))


def went_into(row: Any) -> list[tuple[Any, Any, Any]]:
    """Return one path for each run: dataset, run, the model that it made; a dataset that no run used has the first
    alone."""
    paths: list[tuple[Any, Any, Any]] = []
    for dataset in row.datasets.all() if hasattr(row, "datasets") else ():
        runs = sorted(dataset.runs.all(), key=lambda run: run.pk)
        paths += [(dataset, run, run.output_model) for run in runs] or [(dataset, None, None)]
    return paths


def ranked_completions(rows: Iterable[Any]) -> dict[int, Completion]:
    """Return the completions of these rankings, with their models, by id."""
    ids = {pk for row in rows for equals in row.order for pk in equals}
    return Completion.objects.select_related("model").in_bulk(ids)


def of_model(rows: QuerySet[Any], kind: str, model_id: int) -> QuerySet[Any]:
    """Return the rows about an answer of this model."""
    about = Q()
    for path in _COMPLETIONS[kind]:
        about |= Q(**{path: model_id})
    return rows.filter(about).distinct() if kind == "ranking" else rows.filter(about)
