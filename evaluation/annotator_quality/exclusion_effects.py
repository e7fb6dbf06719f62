"""Find what excluding an annotator touches: datasets, models, places on leaderboards, and work in hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q
from django.utils import timezone

from annotate.data.feedback_lineage import one_per_item
from annotate.labelling.bulk_status import (
    ImportedAnnotator,
    Who,
    feedback_by,
    filter_by,
)
from annotate.models import (
    AnnotatorKind,
    Assignment,
    Comparison,
    Dataset,
    LanguageModel,
    Project,
    Split,
)
from annotate.models.assignments import AssignmentQuerySet
from annotate.models.feedback import FeedbackQuerySet, annotator_kind_of
from evaluation.leaderboard.published import tally_of
from evaluation.leaderboard.snapshots import current
from evaluation.models import Promotion
from evaluation.ratings import LABELS, Tally
from evaluation.ratings.bradley_terry import fit
from training.models import KeptCheckpoint, Run


@dataclass(frozen=True)
class TouchedDataset:
    dataset: Dataset
    judgements: int


@dataclass(frozen=True)
class TouchedModel:
    """Hold a model that learnt from an excluded annotator. `run` made it. `directly`: from a dataset with their
    annotations, else through another model that was."""

    model: LanguageModel
    run: Run
    directly: bool
    is_served: bool


@dataclass(frozen=True)
class Place:
    """A model's place now and without their votes; None where no vote is left. Both are fitted vote by vote. A rank is
    the best that the intervals allow."""

    model: LanguageModel
    rating: float
    rank: int
    rating_without: float | None
    rank_without: int | None
    moves: bool = False  # another rank, or another place in the order of the ratings


@dataclass(frozen=True)
class Touched:
    """All that an exclusion would touch. `judgements` is {kind: {status: n}}, and `changing` how many would change."""

    judgements: dict[str, dict[str, int]]
    changing: dict[str, int]
    datasets: list[TouchedDataset]
    runs: list[Run]
    models: list[TouchedModel]
    votes: int  # of those that rank models
    places: list[Place]
    open_items: int

    @property
    def total(self) -> int:
        return sum(self.changing.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "changing": self.changing,
            "datasets": [{"id": t.dataset.pk, "judgements": t.judgements} for t in self.datasets],
            "runs": [run.pk for run in self.runs],
            "models": [{"id": t.model.pk, "directly": t.directly} for t in self.models],
            "votes": self.votes,
            "places": [
                {
                    "model": p.model.pk,
                    "rating": round(p.rating, 2),
                    "rank": p.rank,
                    "rating_without": None if p.rating_without is None else round(p.rating_without, 2),
                    "rank_without": p.rank_without,
                }
                for p in self.places
            ],
        }


def touched_by(project: Project, annotator: Who) -> Touched:
    """Return what an exclusion would touch; nothing is written."""
    feedback = feedback_by(project, annotator)
    judgements = {
        kind: dict(one_per_item(kind, rows).order_by().values_list("status").annotate(n=Count("id")))
        for kind, rows in feedback.items()
    }
    changing = {
        kind: sum(n for status, n in by.items() if status in ("counted", "held")) for kind, by in judgements.items()
    }
    datasets, runs, models = held_by(project, annotator)
    votes, places = _places(project, annotator)
    return Touched(
        {kind: by for kind, by in judgements.items() if by},
        {kind: n for kind, n in changing.items() if n},
        datasets,
        runs,
        models,
        votes,
        places,
        in_hand(project, annotator).filter(expires_at__gt=timezone.now()).count(),
    )


def held_by(project: Project, annotator: Who) -> tuple[list[TouchedDataset], list[Run], list[TouchedModel]]:
    """Return the datasets that hold their annotations, the runs that took these, and the models that learned from
    them."""
    datasets = _datasets(project, annotator)
    rows = [touched.dataset for touched in datasets]
    taken = Run.objects.filter(Q(dataset__in=rows) | Q(other_dataset__in=rows))
    runs = list(taken.select_related("output_model").order_by("pk"))
    return datasets, runs, _models(project, runs)


def in_hand(project: Project, annotator: Who) -> AssignmentQuerySet:
    open_items = project.assignments.filter(state=Assignment.State.OPEN)
    return open_items.none() if isinstance(annotator, ImportedAnnotator) else open_items.filter(user=annotator)


def _datasets(project: Project, annotator: Who) -> list[TouchedDataset]:
    counts: Counter[int] = Counter()
    for field in ("comparisons", "ratings", "demonstrations", "spans"):  # the pairs of rankings are comparisons
        rows = project.datasets.filter(**filter_by(annotator, f"{field}__")).order_by().annotate(n=Count(field))
        counts.update(dict(rows.values_list("pk", "n")))
    datasets = project.datasets.in_bulk(list(counts))
    return [TouchedDataset(datasets[pk], counts[pk]) for pk in sorted(counts)]


def _models(project: Project, runs: list[Run]) -> list[TouchedModel]:
    """Return what the runs made, and what was made out of that or rewarded by it."""
    newest = Promotion.objects.filter(project=project).order_by("-id").first()
    served = newest.model_id if newest else None
    run_by_model = _by_model(runs)
    direct, fresh = set(run_by_model), set(run_by_model)
    while fresh:
        rewarded = Q(reward_model__in=fresh) | Q(other_reward_models__in=fresh)
        later = Run.objects.filter(Q(parent__in=fresh) | rewarded).distinct().order_by("pk")
        new_models = {pk: run for pk, run in _by_model(later).items() if pk not in run_by_model}
        run_by_model |= new_models
        fresh = set(new_models)
    models = LanguageModel.objects.in_bulk(list(run_by_model))
    return [TouchedModel(models[pk], run_by_model[pk], pk in direct, pk == served) for pk in sorted(models)]


def _by_model(runs: Iterable[Run]) -> dict[int, Run]:
    of_runs = {run.pk: run for run in runs}
    kept = KeptCheckpoint.objects.filter(run__in=list(of_runs)).values_list("model", "run")
    made = [(run.output_model_id, run.pk) for run in of_runs.values() if run.output_model_id is not None]
    return {model: of_runs[run] for model, run in (*made, *kept)}


def _places(project: Project, annotator: Who) -> tuple[int, list[Place]]:
    """Return how many of their votes rank models, and every model's place with and without them."""
    own_votes = (
        Comparison.objects.filter(project=project, **filter_by(annotator)).counted().on_split(Split.EVAL).order_by()
    )
    kind = _kind_of(annotator, own_votes)
    names = ("completion_a__model", "completion_b__model", "winner")
    votes = list(own_votes.ranking(kind).values_list(*names).annotate(n=Count("id")))
    if not votes:
        return 0, []
    tally = tally_of(current(project=project, judge=kind))
    index_of = {model: index for index, model in enumerate(tally.models)}
    cells = tally.cells.copy()
    for a, b, winner, n in votes:
        cells[index_of[a], index_of[b], LABELS.index(winner)] -= n
    now, without_them = _ranks(tally), _ranks(Tally(tally.models, cells.clip(0)))
    models = LanguageModel.objects.in_bulk(tally.models)
    order, after = _order(now), _order(without_them)
    places = []
    for pk, (rating, rank) in now.items():
        left, lower = without_them.get(pk, (None, None))
        moves = order[pk] != after.get(pk) or rank != lower
        places.append(Place(models[pk], rating, rank, left, lower, moves))
    return sum(n for *_, n in votes), sorted(places, key=lambda each: order[each.model.pk])


def _kind_of(annotator: Who, own_votes: FeedbackQuerySet) -> str:
    """Return the kind of annotator; an import's are all of one kind: its file says so, or nobody does."""
    if isinstance(annotator, ImportedAnnotator):
        return own_votes.values_list("judge", flat=True).first() or AnnotatorKind.PERSON
    return annotator_kind_of(annotator)


def _order(ratings: dict[int, tuple[float, int]]) -> dict[int, int]:
    return {pk: rank for rank, pk in enumerate(sorted(ratings, key=lambda pk: -ratings[pk][0]))}


def _ranks(tally: Tally) -> dict[int, tuple[float, int]]:
    """Return {model: (rating, rank)} of models in a battle of the largest group."""
    indices = (tally.cells.sum(axis=(1, 2)) + tally.cells.sum(axis=(0, 2))).nonzero()[0]
    if not len(indices):
        return {}
    fitted = fit(Tally(tuple(tally.models[i] for i in indices), tally.cells[indices][:, indices]))
    ranks = fitted.ranks()
    return {
        fitted.models[i]: (float(fitted.rating[i]), int(ranks[i, 0]))
        for i in range(len(fitted.models))
        if fitted.group[i] == 0
    }
