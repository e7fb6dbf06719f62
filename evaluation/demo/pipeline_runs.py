"""Runs and datasets of a turn, each found by its name or made; a run that failed or was cancelled is resumed."""

from __future__ import annotations

import time
from typing import Any

from annotate.data.datasets import actions as datasets
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project
from evaluation.demo.plan import Report, Turn, TurnStopped
from training.models import Run
from training.runs.figures.following import under_way
from training.runs.ordering.actions import queue_run, resume

WORKER_PATIENCE = 30.0


def dataset(turn: Turn, kind: str, name: str, side: str = "train", **options: Any) -> Dataset:
    standing = Dataset.objects.filter(project=turn.project, name=name).first()
    return standing or datasets.freeze(
        project=turn.project,
        kind=kind,
        name=name,
        by=turn.researcher,
        side=side,
        judge=AnnotatorKind.SIMULATION,
        **options,
    )


def finished_run(
    turn: Turn,
    report: Report,
    *,
    kind: str,
    name: str,
    parent: LanguageModel | None = None,
    dataset: Dataset | None = None,
    other_dataset: Dataset | None = None,
    reward_model: LanguageModel | None = None,
    config: dict[str, Any],
) -> Run:
    """Return the run of that kind and name in the project, once it has succeeded. Raises TurnStopped when it does
    not."""
    run = Run.objects.filter(project=turn.project, kind=kind, name=name).order_by("id").last()
    if run is None:
        run = queue_run(
            kind=kind,
            project=turn.project,
            name=name,
            by=turn.researcher,
            parent=parent,
            dataset=dataset,
            other_dataset=other_dataset,
            reward_model=reward_model,
            config=config,
            idempotency_key=f"{run_keys(turn.project)}{kind}:{name}",
        )
    elif run.state in (Run.State.FAILED, Run.State.CANCELLED):
        run = resume(run=run, by=turn.researcher)
    return _await(turn, report, run)


def run_keys(project: Project) -> str:
    """Return how the idempotency keys of the demo's runs begin, behind the number of its account."""
    return f"turn:{project.slug}:"


def _await(turn: Turn, report: Report, run: Run) -> Run:
    queued_since = time.monotonic()
    for _ in under_way(run):
        note = run.phase
        if run.state == Run.State.QUEUED and time.monotonic() - queued_since > WORKER_PATIENCE:
            note = "waiting for the worker; is it running?"
        report(run.step, run.total_steps, note, run.ends_at)
    if run.state != Run.State.SUCCEEDED:
        page = turn.page(f"/runs/{run.pk}/")
        raise TurnStopped(f"{run.name} has {run.state}: {run.reason} {run.remedy} See {page}".replace("  ", " "))
    return run
