"""List prompts: filtered, searched, a page at a time, whatever their number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet

from annotate.core.db.kept_totals import CountedRows
from annotate.models import Completion, Project, Prompt, Split

PER_PAGE = 50
SEARCHED = 20_000  # prompts that one page searches through, at most
_TURNS = 6  # of a conversation, that are searched
ACTIVE, RETIRED, ALL = "active", "retired", "all"
STATES = (ACTIVE, RETIRED, ALL)


@dataclass(frozen=True)
class Filters:
    """Say which prompts are wanted; "" wants any."""

    search: str = ""
    category: str = ""
    side: str = ""
    language: str = ""
    state: str = ACTIVE


@dataclass(frozen=True)
class PromptPage:
    """Hold a page of prompts, newest first, with the number of answers to each.

    `before` leads to the next page; None at the end. `is_cut` says that the search stopped before the end.
    """

    rows: tuple[tuple[Prompt, int], ...]
    before: int | None
    is_cut: bool


@dataclass(frozen=True)
class EmptySplit:
    """Name a split without prompts. `needed` more texts fill it with a probability of 95 %; None: no number does."""

    side: str
    needed: int | None


def filtered(rows: QuerySet[Prompt], filters: Filters) -> QuerySet[Prompt]:
    if filters.category:
        rows = rows.filter(category=filters.category)
    if filters.language:
        rows = rows.filter(language=filters.language)
    if filters.side:
        rows = rows.filter(side=filters.side)
    if filters.state != ALL:
        rows = rows.filter(out_since__isnull=filters.state == ACTIVE)
    return rows.filter(_says(filters.search)) if filters.search else rows


def page_of(project: Project, filters: Filters, before: int | None = None) -> PromptPage:
    """Return the prompts with ids below `before`, newest first."""
    rows = Prompt.objects.filter(project=project).order_by("-id")
    if before is not None:
        rows = rows.filter(id__lt=before)
    lowest = _lowest_searched(rows) if filters.search else None
    if lowest is not None:
        rows = rows.filter(id__gte=lowest)
    found = list(filtered(rows, filters)[: PER_PAGE + 1])
    shown = found[:PER_PAGE]
    is_full = len(found) > PER_PAGE
    answers = _answer_counts(shown)
    return PromptPage(
        rows=tuple((prompt, answers.get(prompt.pk, 0)) for prompt in shown),
        before=shown[-1].pk if is_full else lowest,
        is_cut=not is_full and lowest is not None,
    )


def categories(project: Project) -> list[str]:
    """Return the categories of a project's prompts, in order."""
    rows = project.prompts.exclude(category="").order_by("category")
    return _kept_values(project, "category", rows)


def languages(project: Project) -> list[str]:
    """Return the language tags of a project's prompts, in order."""
    rows = project.prompts.exclude(language="").order_by("language")
    return _kept_values(project, "language", rows)


def _kept_values(project: Project, name: str, rows: QuerySet[Prompt]) -> list[str]:
    """Return the values of a field; of many prompts, as they were up to five minutes ago."""
    values = rows.values_list(name, flat=True).distinct()
    return CountedRows(f"prompts of {project.pk}", project.prompts.all()).totals(name, lambda: list(values))


def empty_split(counts: Mapping[str, int], eval_percent: int) -> EmptySplit | None:
    """Return the split that has no prompt while the other one has some."""
    empty = [side for side, n in counts.items() if not n]
    if len(empty) != 1:
        return None
    share = (eval_percent if empty[0] == Split.EVAL else 100 - eval_percent) / 100
    if share >= 1:
        return EmptySplit(empty[0], 1)
    return EmptySplit(empty[0], math.ceil(math.log(0.05) / math.log(1 - share)) if share else None)


def _says(words: str) -> Q:
    found = Q()
    for turn in range(_TURNS):
        found |= Q(**{f"messages__{turn}__content__icontains": words})
    return found


def _lowest_searched(rows: QuerySet[Prompt]) -> int | None:
    """Return the id down to which one page searches; None where that is all there is."""
    return next(iter(rows.values_list("id", flat=True)[SEARCHED : SEARCHED + 1]), None)


def _answer_counts(prompts: Sequence[Prompt]) -> dict[int, int]:
    rows = Completion.objects.filter(prompt__in=[prompt.pk for prompt in prompts]).order_by()
    return dict(rows.values_list("prompt").annotate(n=Count("id")))
