"""Rounds whose runs end as the worker ends them, without recipes."""

from __future__ import annotations

from annotate.models import Completion, LanguageModel
from annotate.models.prompts import ARENA
from evaluation.models import Round, RoundSeries
from evaluation.rounds import round_judging, round_progress
from tests.support.factories import make_comparison, make_completion, make_model, make_user
from training.models import Run
from training.runs.ordering.end_events import tell_finished


def end(run: Run, state: str = "succeeded", accuracy: float = 0.7) -> None:
    """End a run as the worker does, with what its kind leaves."""
    if state == "succeeded":
        if run.kind in ("reward", "grpo", "dpo", "sft", "best_of"):
            kind = LanguageModel.Kind.REWARD if run.kind == "reward" else LanguageModel.Kind.POLICY
            folder = "" if run.kind == "best_of" else f"models/{run.pk}"
            run.output_model = make_model(name=run.name, parent=run.parent, folder=folder, kind=kind)
        if run.kind in ("sample", "best_of"):
            for prompt in run.dataset.prompts.all():
                for n in range(run.config["completions_per_prompt"]):
                    answer = make_completion(prompt, f"Answer {run.pk} {n}.", model=run.output_model or run.parent)
                    run.completions.add(answer)
        if run.kind == "evaluate":
            figure = {"value": accuracy, "lower": accuracy - 0.1, "upper": accuracy + 0.1, "n": 20}
            run.result = {"metrics": {"pair accuracy": figure}}
    run.state = state
    run.save()
    tell_finished(run)


def end_all(project, **figures: float) -> None:
    while runs := list(project.runs.unfinished()):
        for run in runs:
            end(run, **figures)


def annotate(one: Round, count: int, winners: int = 1000) -> None:
    """Somebody compares the first pairs of a round; the first have a winner, the others are ties."""
    annotator = make_user(one.series.project)
    one = round_progress.rounds_of(one.series).get(pk=one.pk)
    for n, (_prompt, a, b) in enumerate(round_judging.pairs_of(one)[:count]):
        pair = (Completion.objects.get(pk=a), Completion.objects.get(pk=b))
        make_comparison(*pair, "model_a" if n < winners else "tie", annotator)
    round_progress.periodic_task()


def vote(one: Round, wins: int, losses: int) -> None:
    """People prefer the round's model to the one before so often, and the other way round."""
    one.refresh_from_db()
    prompt = one.series.questions.prompts.first()
    for n in range(wins + losses):
        pair = [make_completion(prompt, model=model, source=ARENA) for model in (one.model, one.policy)]
        make_comparison(*pair, "model_a" if n < wins else "model_b", make_user(one.series.project))
    round_progress.periodic_task()


def current(series: RoundSeries) -> Round:
    found = round_progress.current(series)
    assert found is not None and (not found.problem or "alike" in found.problem), found and found.problem
    return found


def play(series: RoundSeries, wins: int = 6, **figures: float) -> Round:
    """Play the current round through."""
    end_all(series.project, **figures)
    one = current(series)
    annotate(one, one.needed)
    end_all(series.project, **figures)
    vote(one, wins=wins, losses=10 - wins)
    one.refresh_from_db()
    series.refresh_from_db()
    return one
