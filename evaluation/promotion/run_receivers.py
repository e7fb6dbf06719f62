"""Handle ended runs: figures become evaluations, and a new policy a candidate."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from evaluation.measures.recording import write_metrics
from evaluation.models import Evaluation
from evaluation.promotion import candidate_review
from evaluation.promotion.enrolment import enrol
from training.models import Run

RECENT = timedelta(days=2)
_without_figures: set[int] = set()


def figures_of_a_new_model(run: Run) -> None:
    """Write the figures of a new reward model, which its run measured on prompts it held out."""
    if run.state == Run.State.SUCCEEDED and run.output_model is not None:
        write_metrics(run, run.output_model)


def periodic_task() -> bool:
    """Do the periodic task: a process that is killed between a run's commit and the signal leaves its figures
    unwritten."""
    figures_that_no_signal_reached()
    return False


def figures_that_no_signal_reached() -> int:
    """Write the figures of runs that ended of late and were left out where a process was killed; return how many."""
    has_figures = Exists(Evaluation.objects.filter(run=OuterRef("pk"), model=OuterRef("output_model")))
    since = timezone.now() - RECENT
    ended_runs = Run.objects.filter(state=Run.State.SUCCEEDED, output_model__isnull=False, finished_at__gt=since)
    runs = list(
        ended_runs.exclude(pk__in=_without_figures).exclude(has_figures).select_related("output_model", "project")
    )
    return sum(bool(_written_for(run)) for run in runs)


def _written_for(run: Run) -> list[Evaluation]:
    assert run.output_model is not None
    rows = write_metrics(run, run.output_model)
    if not rows:  # most runs measure no model of theirs: each is looked at once
        _without_figures.add(run.pk)
    return rows


def enrolment_of_a_new_model(run: Run) -> None:
    enrol(run)


def evidence_has_come(run: Run) -> None:
    """Look at waiting candidates when an evaluation has ended, and not at the next periodic task."""
    if run.state == Run.State.SUCCEEDED and run.kind == "evaluate":
        candidate_review.look(run.project)
