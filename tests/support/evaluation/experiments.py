"""Experiments whose runs end as the worker ends them, without recipes."""

from __future__ import annotations

from annotate.models import LanguageModel
from annotate.models.prompts import ARENA
from evaluation.models import ArmModel, Experiment
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_model,
    make_user,
)
from training.models import KeptCheckpoint, Run
from training.runs.ordering.end_events import tell_finished


def end(run: Run, state: str = "succeeded") -> None:
    """End a run as the worker does, with what its kind leaves."""
    if state == "succeeded":
        model = run.parent
        if run.kind != "sample":
            kind = LanguageModel.Kind.REWARD if run.kind == "reward" else LanguageModel.Kind.POLICY
            folder = "" if run.kind == "best_of" else f"models/{run.pk}"
            run.output_model = model = make_model(name=run.name, parent=run.parent, folder=folder, kind=kind)
        if run.kind in ("sample", "best_of"):
            for prompt in run.dataset.prompts.all():
                run.completions.add(make_completion(prompt, model=model))
    run.state = state
    run.save()
    tell_finished(run)


def end_all(project, kinds: tuple[str, ...] = ("sft", "dpo", "best_of", "sample")) -> None:
    while runs := list(project.runs.unfinished().filter(kind__in=kinds)):
        for run in runs:
            end(run)


def end_with_checkpoints(project, steps=(4, 8)) -> None:
    """End the runs of DPO, each with models kept at these steps, and then all others."""
    for run in project.runs.unfinished().filter(kind="dpo"):
        for step in steps:
            model = make_model(
                name=f"{run.name}, step {step} of 12", parent=run.parent, folder=f"models/{run.pk}-{step}"
            )
            KeptCheckpoint.objects.create(run=run, step=step, model=model)
        end(run)
    end_all(project)


def vote(experiment: Experiment, winner: LanguageModel, other: LanguageModel) -> None:
    """Somebody new prefers the one to the other; the arena has just written both answers."""
    prompt = experiment.questions.prompts.first()
    pair = [make_completion(prompt, model=model, source=ARENA) for model in (winner, other)]
    make_comparison(*pair, "model_a", make_user(experiment.project))


def models_of(experiment: Experiment, arm: str) -> list[LanguageModel]:
    return [one.model for one in ArmModel.objects.filter(arm__experiment=experiment, arm__name=arm).order_by("seed")]
