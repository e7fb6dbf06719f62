"""Follow a run from a command, until it has ended."""

from __future__ import annotations

from collections.abc import Callable

from django.core.management.base import CommandError
from django.utils import timezone

from training.models import Run
from training.runs.figures.following import under_way
from training.runs.figures.progress import progress


def follow(run: Run, say: Callable[[str], object]) -> Run:
    """Return the run once it has succeeded, saying how far it is whenever that changes. Raises CommandError when it
    does not. Ended by Ctrl-C, the run goes on."""
    said = ""
    for _ in under_way(run):
        line = progress(run, list(run.attempts.all()), {}, timezone.now())
        if line != said:
            say(line)
            said = line
    if run.state != Run.State.SUCCEEDED:
        raise CommandError(f"{run} has {run.state}. {run.reason} {run.remedy}".strip())
    return run
