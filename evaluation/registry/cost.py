"""Compute what a model has cost since its parent, and what each rating point that it gained has cost.

Counted are the runs that made it from its parent: its own, and those of the reward models (with what these came from)
that its parent does not rest on already. Of a run whose step was kept as the model, what was spent until that step.
Sampling answers for people to judge, and the people's time, are not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Min

from annotate.models import Dataset, LanguageModel, Project
from evaluation.leaderboard.snapshots import fit_of
from evaluation.models import Leaderboard
from evaluation.registry.ancestry import ancestry, judgements_in, parent_of
from training.models import Attempt, Run

MOST = 50


@dataclass(frozen=True)
class Interval:
    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Cost:
    """Hold what a model cost. `gain` is None without a rating of both. Prices are per rating point, None while the
    gain's interval holds 0."""

    model: LanguageModel
    parent: LanguageModel | None
    runs: tuple[Run, ...]
    cpu_seconds: float
    wall_seconds: float
    votes: int
    gain: Interval | None

    @property
    def is_gain(self) -> bool:
        """Return whether the gain is beyond doubt: only then a price means something."""
        return self.gain is not None and self.gain.lower > 0

    @property
    def seconds_per_point(self) -> Interval | None:
        return self._price(self.cpu_seconds)

    @property
    def votes_per_point(self) -> Interval | None:
        return self._price(self.votes)

    @property
    def why_no_price(self) -> str:
        if self.parent is None:
            return "It has no parent that answers, so there is no gain to measure."
        if self.gain is None:
            return f"No chain of votes connects it with {self.parent} yet."
        if self.is_gain:
            return ""
        if self.gain.upper < 0:
            return f"It lost against {self.parent}: there is no gain, so no cost per point."
        return "The interval of its gain contains 0, so the cost per point is undefined."

    def _price(self, amount: float) -> Interval | None:
        if self.gain is None or not self.is_gain:
            return None
        return Interval(amount / self.gain.value, amount / self.gain.upper, amount / self.gain.lower)


@dataclass
class _SharedLookups:
    """Hold what was looked up for one model and serves its siblings: most share their parent and their annotations."""

    lines: dict[int, set[int]] = field(default_factory=dict)
    votes: dict[frozenset[int], int] = field(default_factory=dict)

    def ancestors(self, parent: LanguageModel | None) -> set[int]:
        if parent is None:
            return set()
        if parent.pk not in self.lines:
            self.lines[parent.pk] = {entry.model.pk for entry in ancestry(parent, Project.objects.all())}
        return self.lines[parent.pk]

    def judgements(self, datasets: list[Dataset]) -> int:
        key = frozenset(dataset.pk for dataset in datasets)
        if key not in self.votes:
            self.votes[key] = sum(one.total for one in judgements_in(datasets))
        return self.votes[key]


def cost_of(model: LanguageModel, board: Leaderboard, known_of: _SharedLookups | None = None) -> Cost | None:
    """Return None for a model that no run has made."""
    looked_up = known_of or _SharedLookups()
    line = ancestry(model, Project.objects.all())
    if line[-1].run is None:
        return None
    parent = parent_of(model)
    ancestors = looked_up.ancestors(parent)
    since = [entry for entry in line if entry.model.pk not in ancestors and entry.run is not None]
    runs = tuple(entry.run for entry in since if entry.run is not None)
    datasets = [dataset for entry in since for dataset in entry.datasets]
    cpu, wall = _seconds(runs, {entry.run.pk: entry.step for entry in since if entry.run is not None})
    return Cost(model, parent, runs, cpu, wall, looked_up.judgements(datasets), _gain(model, parent, board))


def costs(project: Project, board: Leaderboard) -> list[Cost]:
    """Return the costs of the policies that runs of this project have made, the latest first."""
    models = LanguageModel.objects.policies().filter(made_by__project=project).select_related("parent").order_by("-id")
    lookups = _SharedLookups()
    costs = [cost_of(model, board, lookups) for model in models[:MOST]]
    return [cost for cost in costs if cost is not None]


def _seconds(runs: tuple[Run, ...], step_of: Mapping[int, int | None]) -> tuple[float, float]:
    """Return the seconds of the processors, and from the first to the last moment of each attempt; lost attempts cost
    as well. `step_of` has for each run the step that is counted to, None for all of it."""
    until = {run.pk: _reached(run, step) for run in runs if (step := step_of[run.pk]) is not None}
    attempts = Attempt.objects.filter(run__in=[run.pk for run in runs])
    cpu, wall = 0.0, timedelta()
    for run, start, end, seconds in attempts.values_list("run", "started_at", "ended_at", "cpu_seconds"):
        if end is None:
            cpu += seconds
            continue
        spent = max(timedelta(), min(end, until.get(run) or end) - start)
        cpu += seconds * (spent / (end - start)) if spent < end - start else seconds  # as much in each of its seconds
        wall += spent
    return cpu, max(0.0, wall.total_seconds())


def _reached(run: Run, step: int) -> datetime | None:
    """Return when a run had first measured a step; None where that is not known."""
    return run.metrics.filter(step__gte=step).aggregate(first=Min("time"))["first"]


def _gain(model: LanguageModel, parent: LanguageModel | None, board: Leaderboard) -> Interval | None:
    fitted = fit_of(board)
    if parent is None or fitted is None or model.pk not in fitted.models or parent.pk not in fitted.models:
        return None
    difference = fitted.difference(fitted.models.index(model.pk), fitted.models.index(parent.pk))
    return Interval(difference.value, difference.lower, difference.upper) if difference else None
