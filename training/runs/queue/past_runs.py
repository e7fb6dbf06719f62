"""Find the runs whose time tells how long another one takes: the recent ones of one machine that nothing interrupted.

A single run may have shared its machine with other work, so whoever estimates takes the median of several. Runs that
were paused, resumed, lost or tried twice tell less of the work than of what came between.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import QuerySet

from training.models import Attempt, Run
from training.runs.queue.worker_names import host_of

MOST_TOLD_BY = 5  # runs whose median is taken
_MOST_LOOKED_AT = 30


@dataclass(frozen=True)
class PastRun:
    """Hold a run that its only attempt ended well, and the seconds of that attempt: time in the queue is no work."""

    run: Run
    seconds: float
    machine: tuple[str, str]  # the host of its worker, and the launcher


def past_runs(runs: QuerySet[Run]) -> list[PastRun]:
    """Return the recent ones of these runs, newest first, of the machine that carried out the newest."""
    rows = runs.filter(state=Run.State.SUCCEEDED).select_related("parent", "dataset").prefetch_related("attempts")
    past = [one for run in rows.order_by("-pk")[:_MOST_LOOKED_AT] if (one := _in_one_go(run)) is not None]
    past = [one for one in past if one.machine[0]] or past  # the sample project came from a machine without a name
    return [one for one in past if one.machine == past[0].machine]


def _in_one_go(run: Run) -> PastRun | None:
    attempts = list(run.attempts.all())
    if len(attempts) != 1:
        return None
    attempt, end = attempts[0], attempts[0].ended_at
    if attempt.state != Attempt.State.SUCCEEDED or attempt.resumed_from_step is not None or end is None:
        return None
    seconds = (end - attempt.started_at).total_seconds()
    return PastRun(run, seconds, (host_of(attempt.worker), attempt.launcher)) if seconds > 0 else None
