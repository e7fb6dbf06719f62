"""Write what a model's card warns of: each sentence follows from its records, and none is there for show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from annotate.models import AnnotatorKind, LanguageModel
from evaluation.models import Evaluation
from evaluation.registry.ancestry import Judgements, LineageEntry, judgements_in
from evaluation.registry.card_markdown import plain
from training.configs.rewards.part_lines import judges_in
from training.runs.present.run_page import run_overview

FEW_JUDGEMENTS = 200
SMALL = 1_000_000_000  # parameters
_BY_TRIAL = ("ppo", "grpo", "rloo")


def limits(line: Sequence[LineageEntry], evaluations: Sequence[Evaluation]) -> list[str]:
    """Return the limits of the last model of the line."""
    last = line[-1]
    judgements = judgements_in([dataset for one in line for dataset in one.datasets])
    return [
        *_of_its_kind(last.model),
        *_of_judgements(judgements),
        *_of_judge_models(line),
        *_of_its_training(last),
        *_of_figures(evaluations),
        *_of_records(line),
    ]


def _of_its_kind(model: LanguageModel) -> Iterator[str]:
    if model.kind == LanguageModel.Kind.POLICY:
        if model.parameters and model.parameters < SMALL:
            yield "The model is small: its facts, numbers and code are often wrong, even if they sound fluent."
        yield "It was not tested for safety, bias or the privacy of its training texts."
    if model.kind == LanguageModel.Kind.REWARD:
        yield "Its score shows what annotators preferred, which is not always true."
    if model.kind == LanguageModel.Kind.CLASSIFIER:
        yield "It gives every text one of its labels, even if none fits."


def _of_judgements(judgements: Sequence[Judgements]) -> Iterator[str]:
    if not judgements:
        return
    if all(one.judge == AnnotatorKind.SIMULATION for one in judgements):
        yield "Its annotators were simulated, so it does not show what people prefer."
    elif any(one.judge == AnnotatorKind.SIMULATION for one in judgements):
        yield "Some of its annotators were simulated; the counts above list them separately."
    people = [one for one in judgements if one.judge == AnnotatorKind.PERSON]
    total = sum(one.total for one in people)
    if people and total < FEW_JUDGEMENTS:
        yield f"It is based on only {total:,} annotations of people, so it shows the preferences of a few."
    if withdrawn := sum(one.withdrawn for one in judgements):
        verb = "counts" if withdrawn == 1 else "count"
        yield f"{withdrawn:,} of these annotations no longer {verb}, but the model was trained on them."


def _of_judge_models(line: Sequence[LineageEntry]) -> Iterator[str]:
    datasets = [dataset for one in line for dataset in one.datasets if dataset.judge == "model"]
    for name in dict.fromkeys(str(dataset.counts.get("judge_model", "")) for dataset in datasets):
        yield f"Labels that it learned from are verdicts of the judge model {plain(name)}: they show what that prefers."
    for name in dict.fromkeys(name for one in line for name in _graders(one)):
        yield f"Answers that it learned from were graded by the judge model {plain(name)}: they show what it likes."


def _graders(entry: LineageEntry) -> list[str]:
    """Return the judges that were parts of a reward: of its own run, and of runs that drew its examples."""
    own = judges_in(entry.run.config.get("rewards") or "") if entry.run else []
    return own + [name for one in entry.datasets if (name := str(one.counts.get("graded_by", "")))]


def _of_its_training(entry: LineageEntry) -> Iterator[str]:
    run = entry.run
    if run is None:
        return
    if run.kind in _BY_TRIAL:
        agreement_text = run_overview.agreement(run.reward_model)
        text = f", which agrees with held-out annotations {agreement_text}" if agreement_text else ""
        yield f"It was trained to raise a score{text}; it can repeat errors of the score."
    if stop := run.result.get("stopped"):
        yield f"Its run ended early: {stop.get('message') or stop.get('code') or 'at a limit'}"


def _of_figures(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if not evaluations:
        yield "It has no figures on texts outside its training data."
    elif any(e.n < 100 for e in evaluations):
        yield "Some figures use fewer than 100 examples; read them with their intervals."


def _of_records(line: Sequence[LineageEntry]) -> Iterator[str]:
    if not line[-1].model.licence:
        yield "It has no stated licence; ask before you use it elsewhere."
    if any(one.is_hidden for one in line):
        yield "Part of its history is in projects that this card cannot show."
    if line[0].run is None and not line[0].is_hidden:
        yield f"The training data of {line[0].model.name} before its import is not recorded here."
