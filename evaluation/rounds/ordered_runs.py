"""Find the runs that rounds have ordered, and what they took."""

from __future__ import annotations

from collections import defaultdict

from django.db.models import QuerySet

from common.whole_numbers import row_id
from evaluation.experiments.present import seconds_by_run
from evaluation.models import RoundSeries
from training.models import Run

KEY = ":rounds:"  # in the idempotency key of each of their runs, after the account's scope


def ordered_runs(series: RoundSeries) -> QuerySet[Run]:
    """Return all runs that these rounds have ordered."""
    return Run.objects.filter(project=series.project, idempotency_key__contains=f"{KEY}{series.pk}:")


def seconds_spent(series: RoundSeries) -> float:
    """Return the clock seconds of all attempts that have ended."""
    return sum(seconds_by_round(series).values())


def seconds_by_round(series: RoundSeries) -> dict[int, float]:
    """Return the clock seconds of all attempts that have ended, by the number of the round."""
    keys = {run: str(key) for run, key in ordered_runs(series).values_list("pk", "idempotency_key")}
    spent: dict[int, float] = defaultdict(float)
    for run, seconds in seconds_by_run(keys).items():
        if run is not None:
            spent[row_id(keys[run].partition(f"{KEY}{series.pk}:")[2].partition(":")[0])] += seconds
    return spent
