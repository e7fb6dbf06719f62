"""Evaluations that have ended: a run, its items and figures as the recipe writes them, and their rows."""

from __future__ import annotations

from typing import Any

from annotate.models import LanguageModel, Project
from evaluation.measures import recording
from evaluation.models import Evaluation
from evaluation.recipes.common import outcome
from evaluation.recipes.common.outcome import Item, Measured
from tests.support.factories import make_user
from training.configs.evaluate import EvaluateConfig
from training.core.run_directory import RunDirectory, RunSpec
from training.models import Run


def items(counts: list[dict[str, list[float]]], **fields: Any) -> list[Item]:
    """An item for each dict; what is asked has enough words to be found in training data."""
    return [
        Item(
            str(number),
            " ".join(f"q{number}w{place}" for place in range(14)),
            row,
            {"prompt": f"Question {number}?", "answer": f"Answer {number}."},
            **fields,
        )
        for number, row in enumerate(counts)
    ]


def right(marks: list[int]) -> list[dict[str, list[float]]]:
    return [{"accuracy": [float(mark), 1.0]} for mark in marks]


def measured(
    project: Project, model: LanguageModel, task: str, found: list[Item], *, trained_on: tuple[str, ...] = (),
    measure: str = "choices", **config: Any,
) -> Run:  # fmt: skip
    """A run that has ended well, with its Evaluation rows."""
    whole = EvaluateConfig(**{"measure": measure, "draws": 200, **config})
    run = Run.objects.create(
        project=project,
        kind="evaluate",
        name=f"{task} of {model}",
        parent=model,
        config=whole.__dict__,
        state=Run.State.SUCCEEDED,
        created_by=make_user(project, role="researcher"),
    )
    directory = RunDirectory(run.path)
    spec = RunSpec(kind="evaluate", config={}, trained_on=list(trained_on), parent_hash="a" * 64)
    directory.create(spec)
    outcome.finish(directory, spec, whole, Measured(task, found, "made in a test"))
    run.result = directory.result() or {}
    run.save()
    recording.record_measure(run, directory)
    assert Evaluation.objects.filter(run=run).exists()
    return run
