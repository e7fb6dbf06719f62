"""Say how the queue stands, for Prometheus: what waits and how long, what became of runs, and who carries them out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from django.db.models import Count, Min, Q

from annotate.core.db.connections import database_now
from annotate.core.gauges import heartbeats
from annotate.core.metrics.readings import Reading
from annotate.models import ProcessHeartbeat
from training.core.kinds import KINDS
from training.models import Attempt, Run
from training.runs.queue import drains

NEWEST_FAILURES = 10_000
MOST_REASONS = 40
_CODE = re.compile(r"[a-z][a-z0-9_]{0,59}")


def queue_readings() -> Iterator[Reading]:
    """Yield the queue's depth and the age of its oldest run by kind, runs by state, failures by reason, and workers."""
    yield from _waiting()
    states = dict(Run.objects.order_by().values_list("state").annotate(Count("pk")))
    counts = {(state,): states.get(state, 0) for state in Run.State.values}
    yield Reading("assay_runs", "Runs by state.", ("state",), counts)
    meaning = f"Failed attempts of failed runs, by reason, of the newest {NEWEST_FAILURES:,} runs."
    yield Reading("assay_runs_failed", meaning, ("reason",), _failures())
    yield _workers()


def _waiting() -> Iterator[Reading]:
    queued = Run.objects.filter(state=Run.State.QUEUED).order_by()
    rows = list(queued.values_list("kind").annotate(Count("pk"), Min("queued_at")))
    now = database_now()
    depth: dict[tuple[str, ...], float] = {(kind,): 0.0 for kind in KINDS}
    age = dict(depth)
    for name, count, oldest in rows:
        label = (name if name in KINDS else "other",)
        depth[label] = depth.get(label, 0.0) + count
        age[label] = max(age.get(label, 0.0), (now - oldest).total_seconds())
    yield Reading("assay_queue_runs", "Runs that wait in the queue.", ("kind",), depth)
    yield Reading("assay_queue_oldest_seconds", "How long the oldest of them has waited.", ("kind",), age)


def _failures() -> dict[tuple[str, ...], float]:
    """Return how often runs that stand as failed have failed: one that fails again when resumed counts each time."""
    failed_attempts = Count("attempts", filter=Q(attempts__state=Attempt.State.FAILED))
    newest = Run.objects.filter(state=Run.State.FAILED).order_by("-id").annotate(times=failed_attempts)
    codes: Counter[str] = Counter()
    for code, times in newest.values_list("reason_code", "times")[:NEWEST_FAILURES]:
        codes[code if _CODE.fullmatch(code) else "other"] += max(1, times)
    shown = dict(codes.most_common(MOST_REASONS))
    shown["other"] = shown.get("other", 0) + sum(codes.values()) - sum(shown.values())
    return {(code,): float(count) for code, count in shown.items() if count}


def _workers() -> Reading:
    alive = heartbeats.alive(ProcessHeartbeat.Kind.WORKER)
    draining = len(drains.draining_among(alive))
    counts = {("alive",): float(len(alive) - draining), ("draining",): float(draining)}
    return Reading(
        "assay_workers", "Workers that live: those that take runs, and those that are drained.", ("state",), counts
    )
