"""Count the stations of the loop that people and data make: prompts, completions, annotations, datasets, models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import partial

from django.db.models import Count, Q
from django.urls import reverse
from django.utils import timezone

from annotate.core.db.kept_totals import CountedRows, kept_totals
from annotate.core.rights import is_met
from annotate.core.site_map.present import right_of
from annotate.language_models.default_model import default_model
from annotate.models import AnnotatorKind, Completion, Project, QueueEntry, Split
from annotate.models.feedback import Feedback, feedback_tables
from annotate.models.prompts import split_counts
from annotate.projects.overview.overview_parts import Alert, Station

LOOP = ("prompts", "completions", "annotations", "datasets", "runs", "models", "leaderboard")


def counted_annotations(project: Project) -> list[CountedRows[Feedback]]:
    """Return what counts of what people and simulations say in the project, by table."""
    return [
        CountedRows(f"{rows.model._meta.model_name}s of {project.pk}", rows.counted())
        for rows in feedback_tables(project)
    ]


def stations(project: Project, rights: Set[str], annotations: Sequence[CountedRows[Feedback]]) -> Iterator[Station]:
    """Yield the stations of this app, with links that somebody of these rights may follow. People and simulations are
    never added up: the count is of people, and where none annotated, of simulations."""
    prompts = "prompts" if is_met(right_of("prompts"), rights) else "data"
    yield _prompts(project, _at(prompts, project))
    yield _completions(project, _at(prompts, project))
    yield _annotations(project, annotations)
    yield _datasets(project)
    yield _models(project)


def waiting(project: Project, languages: Sequence[str] = ()) -> Alert | None:
    """Return how many prompts have room for another annotation by a person, and how many of them in the `languages` of
    whoever asks."""
    rows = QueueEntry.with_room(project).values("prompt").distinct()
    left = kept_totals(f"waiting in {project.pk}", QueueEntry.with_room(project), rows.count)
    if not left:
        return None
    words = f"{left:,} prompt{' waits' if left == 1 else 's wait'} for annotation"
    own = rows.filter(language__in=["", *languages]).count() if languages else left
    words += "." if own == left else f", {f'{own:,}' if own else 'none'} of them in languages that you read."
    return Alert(words, "Annotate", _at("annotate", project), "live")


def prompt_counts(project: Project) -> dict[str, int]:
    """Return how many prompts that are not retired each split has; of many, as it was up to five minutes ago."""
    return kept_totals(f"prompts of {project.pk}", project.prompts.all(), partial(split_counts, project))


def _prompts(project: Project, address: str) -> Station:
    counts = prompt_counts(project)
    train, evaluation = counts[Split.TRAIN], counts[Split.EVAL]
    is_lopsided = bool(train) != bool(evaluation)
    line = f"{train:,} to train, {evaluation:,} to evaluate"
    return Station("prompts", "Prompts", train + evaluation, line, address, "bad" if is_lopsided else "")


def _completions(project: Project, address: str) -> Station:
    answers = Completion.objects.filter(prompt__project=project)
    n = kept_totals(
        f"completions of {project.pk}",
        answers,
        lambda: answers.aggregate(all=Count("id"), own=Count("id", filter=Q(model=None))),
    )
    line = f"{n['all'] - n['own']:,} by models" + (f", {n['own']:,} imported" if n["own"] else "")
    return Station("completions", "Completions", n["all"], line, address)


def _annotations(project: Project, annotations: Sequence[CountedRows[Feedback]]) -> Station:
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    people = Q(judge=AnnotatorKind.PERSON)
    columns = {
        "people": Count("id", filter=people),
        "simulated": Count("id", filter=~people),
        "today": Count("id", filter=people & Q(created_at__gte=midnight)),
    }
    totals = [table.totals("by annotator", partial(table.rows.aggregate, **columns)) for table in annotations]
    people_all, today, simulated = (sum(each[name] for each in totals) for name in ("people", "today", "simulated"))
    line = f"{today:,} today" + (f", {simulated:,} simulated" if simulated else "")
    if simulated and not people_all:
        people_all, line = simulated, "all simulated"
    return Station("annotations", "Annotations", people_all, line, _at("votes", project), "live" if today else "")


def _datasets(project: Project) -> Station:
    """Count what models learn from. Frozen prompts are named where there is nothing else, and counted nowhere."""
    frozen = project.datasets.exclude(kind="prompts")
    newest, of_prompts = frozen.order_by("-id").first(), project.datasets.filter(kind="prompts").count()
    line = newest.name if newest else f"only {of_prompts:,} of prompts" if of_prompts else "none frozen"
    return Station("datasets", "Datasets", frozen.count(), line, _at("datasets", project))


def _models(project: Project) -> Station:
    competing = project.contestants.filter(left_at=None, model__retired_at=None).count()
    served = default_model(project)
    line = f"serves {served.name}" if served else "no default model"
    return Station("models", "Models", competing, line, _at("models", project))


def _at(page: str, project: Project) -> str:
    return reverse(page, args=[project.slug])
