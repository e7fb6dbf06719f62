"""Trace from a place on the leaderboard back to the votes that trained the model, and from a model to all that came of
it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import Count, Q, QuerySet

from annotate.core.permissions import Person, can, models_seen, projects_where
from annotate.data import feedback_lineage
from annotate.language_models.model_access import related_to
from annotate.models import Dataset, LanguageModel, Project, Status
from evaluation.leaderboard.leaderboard_rows import Standing, standings
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from evaluation.models import Leaderboard
from training.models import Run


@dataclass(frozen=True)
class Votes:
    """The annotations of one kind in a dataset: how many, of how many annotators, and how many were taken back
    since."""

    kind: str
    total: int
    judges: int
    withdrawn: int


@dataclass(frozen=True)
class Step:
    """One model of the chain: its place, the run that made it, what that run learnt from."""

    model: LanguageModel
    board: Leaderboard
    standing: Standing | None
    run: Run | None = None
    dataset: Dataset | None = None
    votes: list[Votes] = field(default_factory=list)
    rewards: list[Step] = field(default_factory=list)
    is_hidden: bool = False  # a run made it, of a project that the reader may not read


@dataclass(frozen=True)
class Offspring:
    """Hold the models and runs that a model was used for."""

    children: list[LanguageModel]
    runs: list[Run]
    rewarded: list[Run]
    datasets: list[Dataset]

    def __bool__(self) -> bool:
        return any((self.children, self.runs, self.rewarded, self.datasets))


def readable_projects(person: Person, model: LanguageModel) -> list[Project]:
    """Return the projects that the model has to do with, of those that the person may read; the one it ranks in first.

    A shared model that no project has to do with yet is everybody's: whoever is signed in may look at it.
    """
    related = Project.objects.filter(related_to(model) | Q(prompts__completions__model=model)).distinct()
    is_everybodys = model.is_shared and person.is_authenticated and not related.exists()
    projects = Project.objects.all() if is_everybodys else related
    return [project for project in projects.order_by("id") if can(person, "read", project)]


def descent(model: LanguageModel, project: Project, person: Person) -> list[Step]:
    """Return the model, its parent, its parent's parent, to the first; their runs where the person may read the
    project."""
    readable = projects_where(person, "read")
    board = current(project=project, judge=default_annotator_kind(project))
    standing_of = {row.model.pk: row for row in standings(board)}
    steps: list[Step] = []
    ancestor: LanguageModel | None = model
    while ancestor is not None and ancestor.pk not in {step.model.pk for step in steps}:
        steps.append(_step(ancestor, board, standing_of, readable))
        ancestor = ancestor.parent
    return steps


def _step(
    model: LanguageModel, board: Leaderboard, standing_of: dict[int, Standing], readable: QuerySet[Project]
) -> Step:
    runs = Run.objects.select_related("dataset", "reward_model", "project")
    of_model = Q(output_model=model) | Q(kept_checkpoints__model=model)
    run = runs.filter(of_model, project__in=readable).distinct().first()
    if run is None:
        return Step(model, board, standing_of.get(model.pk), is_hidden=model.maker is not None)
    rewarding = [one for one in run.reward_models if one.pk != model.pk]
    return Step(
        model,
        board,
        standing_of.get(model.pk),
        run=run,
        dataset=run.dataset,
        votes=votes_in(run.dataset) if run.dataset else [],
        rewards=[_step(one, board, standing_of, readable) for one in rewarding],
    )


def votes_in(dataset: Dataset) -> list[Votes]:
    """Return what the dataset was frozen from, as it stands today: a vote that was taken back since is still in the
    model."""
    votes = []
    for kind in feedback_lineage.TEACHING:
        counts = feedback_lineage.one_per_item(kind, getattr(dataset, f"{kind}s")).aggregate(
            total=Count("id"),
            authors=Count("author", distinct=True),
            visitors=Count("visitor", distinct=True, filter=Q(author=None)),
            withdrawn=Count("id", filter=~Q(status=Status.COUNTED)),
        )
        if counts["total"]:
            votes.append(
                Votes(f"{kind}s", counts["total"], counts["authors"] + counts["visitors"], counts["withdrawn"])
            )
    return votes


def offspring(model: LanguageModel, projects: Iterable[Project], person: Person) -> Offspring:
    """Return runs and datasets of the projects given, and the children that the person may see."""
    inside = Run.objects.filter(project__in=list(projects)).select_related("output_model", "project").order_by("id")
    runs = inside.filter(parent=model)
    rewarded = inside.filter(Q(reward_model=model) | Q(other_reward_models=model)).distinct()
    children = models_seen(person).filter(parent=model).order_by("id")
    judged_datasets = Dataset.objects.filter(project__in=list(projects)).filter(
        Q(comparisons__completion_a__model=model)
        | Q(comparisons__completion_b__model=model)
        | Q(ratings__completion__model=model)
    )
    return Offspring(list(children), list(runs), list(rewarded), list(judged_datasets.distinct().order_by("id")))
