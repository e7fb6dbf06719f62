"""Present the list of models: which of them, and for each what it came from, how it ranks and how much disk it
takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.core.paginator import Page, Paginator
from django.db.models import QuerySet

from annotate.core.permissions import Person, can, models_seen, projects_where
from annotate.models import LanguageModel, Project
from evaluation.leaderboard.leaderboard_rows import Standing, standings
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from training.models import Run
from training.storage import disk_usage

PER_PAGE = 50


@dataclass(frozen=True)
class Entry:
    """One line of the registry."""

    model: LanguageModel
    made_by: Run | None
    standing: Standing | None
    competes: bool
    is_mine: bool  # of this project, and not merely of this site
    size: int

    @property
    def parameters(self) -> str:
        return in_millions(self.model.parameters)


@dataclass(frozen=True)
class Choice:
    """Hold what a reader narrowed the list to."""

    kind: str = ""
    stage: str = ""
    name: str = ""
    retired: bool = False
    everywhere: bool = False  # for researchers: shared models, and those of their other projects, too

    @classmethod
    def of(cls, query: Mapping[str, str], *, may_see_all: bool) -> Choice:
        kind = query.get("kind", "")
        return cls(
            kind if kind in LanguageModel.Kind.values else "",
            query.get("stage", "").replace("\x00", "")[:24],
            query.get("name", "").replace("\x00", "").strip()[:120],
            query.get("retired") == "1",
            may_see_all and query.get("everywhere") == "1",
        )


@dataclass(frozen=True)
class Registry:
    entries: list[Entry]
    page: Page
    kinds: list[tuple[str, int]]
    stages: list[str]
    retired: int
    elsewhere: int


def registry(project: Project, person: Person, choice: Choice, page: str = "") -> Registry:
    may_see_all = can(person, "research", project)
    own_models = LanguageModel.objects.of_projects([project])
    visible = models_seen(person)
    listed = visible if choice.everywhere else own_models
    narrowed = (
        _narrowed(listed, choice)
        .select_related("parent", "made_by__project", "kept_checkpoint__run__project")
        .order_by("-pk")
    )
    page_ = Paginator(narrowed, PER_PAGE).get_page(page)
    shown = listed if choice.retired else listed.filter(retired_at=None)
    return Registry(
        _entries(list(page_), project, person, set(own_models.values_list("pk", flat=True))),
        page_,
        [(kind, n) for kind in LanguageModel.Kind.values if (n := shown.filter(kind=kind).count())],
        sorted(set(shown.order_by().values_list("stage", flat=True))),
        listed.exclude(retired_at=None).count(),
        visible.filter(retired_at=None).exclude(pk__in=own_models.values("pk")).count() if may_see_all else 0,
    )


def _narrowed(models: QuerySet[LanguageModel], choice: Choice) -> QuerySet[LanguageModel]:
    if not choice.retired:
        models = models.filter(retired_at=None)
    if choice.kind:
        models = models.filter(kind=choice.kind)
    if choice.stage:
        models = models.filter(stage=choice.stage)
    return models.filter(name__icontains=choice.name) if choice.name else models


def _entries(models: list[LanguageModel], project: Project, person: Person, own_ids: set[int]) -> list[Entry]:
    standing_of = {
        row.model.pk: row for row in standings(current(project=project, judge=default_annotator_kind(project)))
    }
    competing = set(project.contestants.filter(left_at=None).values_list("model", flat=True))
    readable = set(projects_where(person, "read").values_list("pk", flat=True))
    return [
        Entry(
            model,
            maker_of(model, readable),
            standing_of.get(model.pk),
            model.pk in competing,
            model.pk in own_ids,
            disk_usage.size_of(model.path) if model.path else 0,
        )
        for model in models
    ]


def maker_of(model: LanguageModel, readable: set[int]) -> Run | None:
    """Return the run that made it, where its project is among the readable ones: a model may compete elsewhere too."""
    run: Run | None = model.maker
    return run if run is not None and run.project_id in readable else None


def in_millions(parameters: int | None) -> str:
    """Return 135 M, 1.7 B, as people say it."""
    if not parameters:
        return ""
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.3g} M"
