"""What the votes say of an experiment: each arm's rating, the registered comparisons, and the verdict once it stops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from annotate.models import Status
from evaluation.core import notices
from evaluation.core.voter_names import voter_name
from evaluation.experiments.arm_ratings import arm_means, combine, seed_spread
from evaluation.experiments.family_tests import AGAINST_BASELINE, compared, comparisons, judged_at_once, times_the_votes
from evaluation.experiments.read_votes import between, elsewhere
from evaluation.leaderboard.votes.vote_blocks import SAID, counted
from evaluation.leaderboard.votes.vote_blocks import comparisons as comparisons_of
from evaluation.models import ArmModel, Experiment, ExperimentArm
from evaluation.ratings import Tally, tally_indices
from evaluation.ratings.bradley_terry import NotConverged, fit
from evaluation.ratings.voter_clusters import by_voters

Votes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ArmRating:
    """An arm's mean rating with its 95 % interval over new votes and new seeds, and each seed's own."""

    arm: int
    name: str
    rating: float
    lower: float
    upper: float
    seeds: list[float]
    votes: int


@dataclass(frozen=True)
class Compared:
    """One comparison of the family: the difference in points with its simultaneous interval, and its adjusted p.

    Where a verdict has left it undecided: `limit` is the half width that votes without end would leave, by the luck of
    seeds, and `votes_needed` about how many votes in all would tell a difference as large; None where none would, or
    more than a thousand times as many.
    """

    arm: str
    other: str
    difference: float
    lower: float
    upper: float
    p: float
    verdict: str  # better, worse or undecided
    limit: float | None = None  # verdicts of earlier versions have neither
    votes_needed: int | None = None

    @property
    def is_luck(self) -> bool:
        """Return whether luck alone may be as large, so that no votes would tell."""
        return self.limit is not None and abs(self.difference) <= self.limit


@dataclass(frozen=True)
class Results:
    """Everything that votes say. `reason` says why there is none of it; `left_out` are votes that were given until the
    verdict and did not count when it was found: somebody may have chosen them."""

    votes: int
    voters: int = 0
    effective_voters: float = 0.0
    seed_deviation: float = 0.0
    seed_freedom: int = 0
    arms: tuple[ArmRating, ...] = ()
    comparisons: tuple[Compared, ...] = ()
    reason: str = ""
    left_out: int = 0  # verdicts of earlier versions have none

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def from_json(row: dict[str, Any]) -> Results:
    arms = tuple(ArmRating(**one) for one in row["arms"])
    return Results(**{**row, "arms": arms, "comparisons": tuple(Compared(**one) for one in row["comparisons"])})


@dataclass(frozen=True)
class Reached:
    """How far the stopping rule is: votes of how many, or a moment. `last` is the last vote that counts for it;
    `elsewhere` are the votes on other answers of these models, which do not."""

    is_met: bool
    votes: int
    needed: int | None = None
    until: datetime | None = None
    last: int | None = None
    elsewhere: int = 0


def registered(experiment: Experiment) -> list[ArmModel]:
    """Return the models that entered together, those that the verdict is about."""
    if experiment.entered_at is None:
        return []
    rows = ArmModel.objects.filter(arm__experiment=experiment, arm__is_exploratory=False)
    return list(rows.filter(entered_at__lte=experiment.entered_at).select_related("arm").order_by("arm", "pk"))


def everybody(experiment: Experiment) -> list[ArmModel]:
    """Return all models that have entered, exploratory ones too."""
    rows = ArmModel.objects.filter(arm__experiment=experiment).exclude(entered_at=None)
    return list(rows.select_related("arm").order_by("arm", "pk"))


def votes_on(experiment: Experiment, models: Sequence[ArmModel]) -> QuerySet:
    """Return the counted votes between these models since they entered together, the first first."""
    rows = counted(experiment.project, experiment.plan["judge"])
    return between(experiment, [one.model_id for one in models], rows).order_by("id")


def reached(experiment: Experiment) -> Reached:
    """Return how far the stopping rule is; of a verdict that stands, how many of its votes still count."""
    stop, votes = experiment.plan["stop"], votes_on(experiment, registered(experiment))
    if experiment.state == Experiment.State.DECIDED:
        votes = _of_the_verdict(experiment, votes, experiment.last_comparison_id)
    if "until" in stop:
        moment = datetime.fromisoformat(stop["until"])
        inside = votes.filter(created_at__lt=moment)
        last = inside.order_by("-id").values_list("id", flat=True).first()
        return Reached(timezone.now() >= moment, inside.count(), until=moment, last=last)
    needed = stop["votes"]
    count = votes.order_by().count()
    if experiment.state == Experiment.State.DECIDED:
        return Reached(True, min(count, needed), needed=needed, last=experiment.last_comparison_id)
    last = votes.values_list("id", flat=True)[needed - 1] if count >= needed else None
    return Reached(last is not None, min(count, needed), needed=needed, last=last)


def reached_and_elsewhere(experiment: Experiment) -> Reached:
    """Return how far the stopping rule is, and how many votes on other answers there are, until a verdict."""
    found, models = reached(experiment), [one.model_id for one in registered(experiment)]
    votes = elsewhere(experiment, models, counted(experiment.project, experiment.plan["judge"]))
    if experiment.state == Experiment.State.DECIDED:
        votes = _of_the_verdict(experiment, votes, found.last)
    return replace(found, elsewhere=votes.order_by().count())


def decide(experiment: Experiment) -> bool:
    """Freeze the verdict where the rule is met, once; return whether it was."""
    found = reached(experiment)
    if not found.is_met:
        return False
    models = registered(experiment)
    votes = votes_on(experiment, models)
    found_verdict = results(experiment, models, _of_the_verdict(experiment, votes, found.last), foretells=True)
    verdict = replace(found_verdict, left_out=_left_out(experiment, models, found))
    waiting = Experiment.objects.filter(pk=experiment.pk, state=Experiment.State.VOTING)
    with transaction.atomic():
        has_decided = waiting.update(
            state=Experiment.State.DECIDED, decided_at=timezone.now(), last_comparison_id=found.last,
            verdict=verdict.as_json(),
        )  # fmt: skip
        if has_decided:
            tell(experiment, f"has its verdict, after {verdict.votes:,} votes.")
    return bool(has_decided)


def _of_the_verdict(experiment: Experiment, votes: QuerySet, last: int | None) -> QuerySet:
    """Return the votes up to the `last` one of the verdict; where a moment ends it, of those that came before it: a
    later one may have a lower number."""
    if last is None:
        return votes.none()
    inside = votes.filter(id__lte=last)
    until = experiment.plan["stop"].get("until")
    return inside.filter(created_at__lt=datetime.fromisoformat(until)) if until else inside


def _left_out(experiment: Experiment, models: Sequence[ArmModel], found: Reached) -> int:
    """Return how many votes were given until the verdict and do not count: held, withdrawn or excluded."""
    every = comparisons_of(experiment.project, experiment.plan["judge"]).exclude(status=Status.COUNTED)
    until = {"created_at__lt": found.until} if found.until else {"id__lte": found.last}
    return between(experiment, [one.model_id for one in models], every).filter(**until).count()


def tell(experiment: Experiment, text: str) -> None:
    """Notify the project's researchers that an experiment has come to its end."""
    url = reverse("experiment", args=[experiment.project.slug, experiment.pk])
    notices.tell(
        project=experiment.project, text=f"Experiment {experiment.name} {text}", url=url, owner=experiment.created_by_id
    )


def results(experiment: Experiment, models: Sequence[ArmModel], votes: QuerySet, *, foretells: bool = False) -> Results:
    """Return what these votes say of these models, by the plan's test; `foretells`: also how many more would tell what
    they leave undecided, which takes ten times as long."""
    rows = vote_rows(votes)
    if not rows:
        return Results(0, reason="Nobody has voted on these models.")
    return _rated(experiment, models, vote_arrays(rows, [one.model_id for one in models]), foretells=foretells)


def vote_rows(votes: QuerySet) -> list[tuple[Any, ...]]:
    """Return (account, visitor, model A, model B, label) of each vote."""
    rows = votes.annotate(label=SAID)
    return list(rows.values_list("author_id", "visitor", "completion_a__model", "completion_b__model", "label"))


def vote_arrays(rows: Sequence[tuple[Any, ...]], models: Sequence[int | None]) -> Votes:
    """Return (voter, a, b, label) of votes between these models, each (n,), voters ascending; a and b are places in
    `models`."""
    place = {model: index for index, model in enumerate(models)}
    numbers: dict[str, int] = {}
    voter = np.array([numbers.setdefault(voter_name(row[0], row[1]), len(numbers)) for row in rows])
    a, b = (np.array([place[row[column]] for row in rows], dtype=np.int64) for column in (2, 3))
    label = np.array([row[4] for row in rows], dtype=np.int64)
    order = np.argsort(voter, kind="stable")
    return voter[order], a[order], b[order], label[order]


def _rated(
    experiment: Experiment,
    models: Sequence[ArmModel],
    votes: Votes,
    *,
    foretells: bool = False,
) -> Results:
    voter, a, b, label = votes
    size, count = len(models), len(voter)
    tally = Tally(tuple(range(size)), tally_indices(a, b, label, size))
    voters = len(np.unique(voter))
    try:
        fitted, spread_of_votes = by_voters(fit(tally), [(voter, a, b, label, np.ones(count, dtype=np.int64))])
    except NotConverged:
        return Results(count, voters, reason="The fit did not converge; more votes will help.")
    effective = spread_of_votes.effective
    if spread_of_votes.repeat and effective < 2:
        reason = "Nearly all votes are one voter's: nothing says how others would vote."
        return Results(count, voters, effective, reason=reason)
    keeps = [place for place in range(size) if fitted.group[place] == 0]
    arms = list(dict.fromkeys(models[place].arm for place in keeps))
    if len(arms) < 2:
        return Results(count, voters, effective, reason="No chain of votes joins two arms yet.")
    rating, covariance = fitted.rating[keeps], fitted.covariance[np.ix_(keeps, keeps)]
    arm = np.array([arms.index(models[place].arm) for place in keeps])
    is_seeded = np.ones(len(keeps), dtype=bool)  # the base too: other answers of it would be rated otherwise
    spread = seed_spread(rating, covariance, arm, is_seeded)
    if not spread.freedom:
        reason = "No arm has two models that were voted on: luck cannot be told from the method."
        return Results(count, voters, effective, reason=reason)
    means = arm_means(arm, len(arms))
    shared = (rating, covariance, is_seeded, spread, effective if spread_of_votes.repeat else math.inf)
    return Results(
        votes=count,
        voters=voters,
        effective_voters=float(effective),
        seed_deviation=spread.deviation,
        seed_freedom=spread.freedom,
        arms=_arm_ratings(arms, arm, means, tally.battles[keeps], shared),
        comparisons=_family(experiment, arms, means, shared, count, foretells=foretells),
    )


def _arm_ratings(
    arms: Sequence[ExperimentArm], arm: np.ndarray, means: np.ndarray, battles: np.ndarray, shared: tuple[Any, ...]
) -> tuple[ArmRating, ...]:
    """Return the arms, the best first. A rating is against the mean of all these models, whose seeds vary with it."""
    rating = shared[0]
    of = combine(means - 1 / means.shape[1], *shared)
    centre = float(rating.mean())
    rows = [
        ArmRating(
            arm=one.pk,
            name=one.name,
            rating=centre + float(of.value[n]),
            lower=centre + float(of.value[n] - of.reach[n]),
            upper=centre + float(of.value[n] + of.reach[n]),
            seeds=[float(value) for value in rating[arm == n]],
            votes=int(battles[arm == n].sum()),
        )
        for n, one in enumerate(arms)
    ]
    return tuple(sorted(rows, key=lambda row: -row.rating))


def _family(
    experiment: Experiment,
    arms: Sequence[ExperimentArm],
    means: np.ndarray,
    shared: tuple[Any, ...],
    votes: int,
    *,
    foretells: bool,
) -> tuple[Compared, ...]:
    names = [one.name for one in arms]
    plan = experiment.plan
    if plan["family"] == AGAINST_BASELINE and plan["baseline"] not in names:
        return ()  # it has failed, and with it the comparison
    baseline = names.index(plan["baseline"]) if plan["baseline"] in names else 0
    pairs = comparisons(list(range(len(arms))), baseline, plan["family"])
    weights = compared(means, pairs)
    of = combine(weights, *shared)
    tested = judged_at_once(of, plan["alpha"])
    undecided = np.flatnonzero(tested.p > plan["alpha"]) if foretells else np.zeros(0, dtype=np.int64)
    foretold = _foretold(weights, shared, plan["alpha"], undecided, votes) if len(undecided) else {}
    rows = []
    for k, (arm, other) in enumerate(pairs):
        value, width = float(of.value[k]), float(tested.reach[k])
        verdict = "undecided" if tested.p[k] > plan["alpha"] else "better" if value > 0 else "worse"
        ends = (value - width, value + width)
        more = foretold.get(k, (None, None))
        rows.append(Compared(names[arm], names[other], value, *ends, float(tested.p[k]), verdict, *more))
    return tuple(rows)


def _foretold(
    weights: np.ndarray, shared: tuple[Any, ...], alpha: float, undecided: np.ndarray, votes: int
) -> dict[int, tuple[float | None, int | None]]:
    """Return, of each undecided comparison, the half width that endless votes would leave, and how many would tell."""

    def reach(times: float) -> np.ndarray:
        return judged_at_once(combine(weights, *_with_votes(shared, times)), alpha).reach[undecided]

    differences = (weights @ shared[0])[undecided]
    times = times_the_votes(differences, reach)
    return {
        int(k): (float(limit), math.ceil(one * votes) if one else None)
        for k, limit, one in zip(undecided, reach(math.inf), times, strict=True)
    }


def _with_votes(shared: tuple[Any, ...], times: float) -> tuple[Any, ...]:
    """Return what is to be expected with so many times the votes, of these models and seeds."""
    rating, covariance, is_seeded, spread, voters = shared
    return rating, covariance / times, is_seeded, spread.with_votes(times), voters
