"""Describe a run on its pages: how far it is, how long it still takes, what happened to its attempts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from training.models import Attempt, Drain, Run
from training.runs.figures.curves import is_number, number
from training.runs.ordering import turns
from training.storage import quotas

_HEADLINES = (("loss", "loss"), ("score_mean", "score"), ("score", "score"), ("accuracy", "accuracy"))
_PACES = (
    ("tokens_per_second", "tokens"),
    ("episodes_per_second", "episodes"),
    ("documents_per_second", "documents"),
    ("completions_per_second", "completions"),
)


def duration(value: timedelta | float) -> str:
    """Format seconds: 42 s, 6 min, 2 h 5 min, 3 d 4 h."""
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    seconds = max(0, round(seconds))
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 36:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d {hours % 24} h"


@dataclass(frozen=True)
class Queue:
    """The numbers of waiting runs in turn, without those of projects that have as many at work as they may; and whether
    anybody is at work: read once for all the runs of a list."""

    places: dict[int, int]
    full_projects: dict[int, tuple[int, int]]  # runs at work, and how many may be
    is_worked_on: bool
    has_drained: bool = False  # whether a worker is kept from new runs

    @classmethod
    def now(cls) -> Queue:
        full = quotas.full_projects()
        return cls(
            {number: place for place, number in enumerate(turns.waiting_runs(without=full))},
            full,
            Attempt.objects.filter(state=Attempt.State.RUNNING).exists(),
            Drain.objects.exists(),
        )


def progress(
    run: Run, attempts: Sequence[Attempt], last: dict[str, Any], now: datetime, queue: Queue | None = None
) -> str:
    """Return the line under the bar: `Step 57 of 80 · 6 min left · 1.2 episodes/s · 3.1 GB · attempt 2, …`."""
    return " · ".join(_progress_parts(run, attempts, last, now, queue))


def _progress_parts(
    run: Run, attempts: Sequence[Attempt], last: dict[str, Any], now: datetime, queue: Queue | None
) -> Iterator[str]:
    if run.state == Run.State.QUEUED:
        yield from _waiting_parts(run, now, queue or Queue.now())
    elif run.state == Run.State.RUNNING:
        if run.cancel_requested_at:
            yield "Cancelling"
        if run.total_steps:
            yield f"Step {run.step} of {run.total_steps}"
        if run.phase and run.phase != "training":
            yield run.phase if run.total_steps else run.phase[:1].upper() + run.phase[1:]
        if run.ends_at and run.step < run.total_steps:
            of_phase = " in this phase" if run.phase and run.phase != "training" else ""  # others may follow it
            yield f"{duration(run.ends_at - now)} left{of_phase}" if run.ends_at > now else "ending soon"
        yield from _now(last)
        if attempts and (memory := gigabytes(attempts[-1].memory_bytes)):
            yield memory
    elif run.state == Run.State.PAUSED:
        yield f"Paused at step {run.pause.get('step', run.step)}" + (
            f" of {run.total_steps}" if run.total_steps else ""
        )
    elif run.finished_at and run.started_at:
        took = duration(run.finished_at - run.started_at)
        steps = f" after step {run.step} of {run.total_steps}" if run.total_steps and run.step < run.total_steps else ""
        yield f"{run.state.capitalize()}{steps}, {took} after the start"
    if story := attempt_story(run, attempts):
        yield story


def _waiting_parts(run: Run, now: datetime, queue: Queue) -> Iterator[str]:
    before = queue.places.get(run.pk, 0)
    if run.project_id in queue.full_projects:
        at_work, most = queue.full_projects[run.project_id]
        yield f"Waiting for another run to end: {at_work} of {most} runs of this project at work"
    else:
        yield f"Waiting in the queue behind {before} more" if before else "Next in the queue"
    if run.priority != Run.Priority.NORMAL:
        yield f"{run.priority} priority"
    # Nobody is at work and it still waits: most likely there is no worker.
    if not queue.is_worked_on and now - run.queued_at > timedelta(seconds=20):
        yield (
            "the worker is drained for maintenance"
            if queue.has_drained
            else "no worker is running: start one with python manage.py run_worker"
        )


def _now(last: dict[str, Any]) -> Iterator[str]:
    """Yield what the last row says of how well and how fast it goes: `loss 2.31`, `1,520 tokens/s`."""
    for name, word in _HEADLINES:
        if is_number(value := last.get(name)):
            yield f"{word} {number(round(value, 3))}"
            break
    for name, word in _PACES:
        if is_number(pace := last.get(name)):
            yield f"{pace:,.0f} {word}/s" if pace >= 10 else f"{pace:.2g} {word}/s"
            break


def gigabytes(count: int) -> str:
    """Format gigabytes: 3.1 GB; empty for what rounds to nothing."""
    return f"{count / 1e9:.1f} GB" if count >= 5e7 else ""


def attempt_story(run: Run, attempts: Sequence[Attempt]) -> str:
    """Say which attempt this is: `attempt 2, resumed from step 40 after the worker was lost`; empty for a first
    attempt."""
    if not attempts:
        return ""
    if run.state == Run.State.QUEUED:
        if attempts[-1].state == Attempt.State.PAUSED:
            return f"attempt {len(attempts) + 1} continues from the pause"
        return f"attempt {len(attempts) + 1} follows: {attempts[-1].reason}".rstrip(": ")
    if len(attempts) < 2:
        return ""
    latest, previous = attempts[-1], attempts[-2]
    start_text = f"resumed from step {latest.resumed_from_step}" if latest.resumed_from_step else "started again"
    reason = previous.reason[:1].lower() + previous.reason[1:] if previous.reason else "the previous attempt ended"
    after = f" after {reason}".rstrip(".") if previous.state == Attempt.State.LOST else ""
    return f"attempt {latest.number}, {start_text}{after}"


def cost(attempts: Sequence[Attempt], now: datetime) -> str:
    """Return the CPU time where it was measured, and the time that passed."""
    wall = sum(((a.ended_at or now) - a.started_at for a in attempts), timedelta())
    cpu = sum(a.cpu_seconds for a in attempts)
    memory = gigabytes(max((a.memory_bytes for a in attempts), default=0))
    parts = [f"{duration(cpu)} of CPU"] if cpu else []
    parts += [f"{duration(wall)} of wall-clock time"] if attempts else []
    parts += [f"at most {memory}"] if memory else []
    return ", ".join(parts) or "nothing yet"


def figures(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a result as (name, value) lines, whatever a recipe put into it: first those that carry an interval.

    A figure with its interval stands once: what is told of the method that was kept is told of the whole already.
    """
    with_intervals: dict[tuple[str, str], str] = {}
    others: list[tuple[str, str]] = []
    for name, value in _figures(result, ""):
        if "[" in value:
            with_intervals.setdefault((name.rpartition(": ")[2], value), name)
        else:
            others.append((name, value))
    return [(name, value) for (_, value), name in with_intervals.items()] + others


def _figures(result: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in result.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, dict) and is_number(value.get("value")):
            yield name, with_interval(value)
        elif isinstance(value, dict):
            yield from _figures(value, f"{name}: ")
        elif isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif isinstance(value, int):
            yield name, f"{value:,}".replace("-", "−")  # what is counted is said in full
        elif is_number(value):
            yield name, number(value)
        elif isinstance(value, str) and value:
            yield name, value
        elif isinstance(value, list) and value and all(is_number(v) or isinstance(v, str) for v in value):
            yield name, ", ".join(v if isinstance(v, str) else number(v) for v in value)


def with_interval(value: dict[str, Any]) -> str:
    """Return `0.71 [0.66, 0.76], n = 312`: rounded to a digit or two of what the interval leaves open."""
    text, lower, upper = number(value["value"]), value.get("lower"), value.get("upper")
    if is_number(lower) and is_number(upper):
        width = upper - lower
        digits = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 3
        text, *ends = (f"{v:.{digits}f}".replace("-", "−") for v in (value["value"], lower, upper))
        text += f" [{', '.join(ends)}]"
    return f"{text}, n = {value['n']}" if is_number(value.get("n")) else text
