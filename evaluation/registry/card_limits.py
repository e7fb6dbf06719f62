"""Write what a model's card warns of: each sentence follows from its records, and none is there for show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from annotate.models import AnnotatorKind, LanguageModel
from evaluation.models import Evaluation
from evaluation.registry.ancestry import Judgements, LineageEntry, judgements_in
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
        *_of_its_training(last),
        *_of_figures(evaluations),
        *_of_records(line),
    ]


def _of_its_kind(model: LanguageModel) -> Iterator[str]:
    if model.kind == LanguageModel.Kind.POLICY:
        if model.parameters and model.parameters < SMALL:
            yield "It is small: what it says of facts, numbers and code is often wrong, however fluent it sounds."
        yield "Nothing here has tested it for safety, bias or the privacy of its training texts."
    if model.kind == LanguageModel.Kind.REWARD:
        yield "Its score says what its annotators liked, which is not the same as what is true."
    if model.kind == LanguageModel.Kind.CLASSIFIER:
        yield "It knows only its labels: a text that fits none of them gets one all the same."


def _of_judgements(judgements: Sequence[Judgements]) -> Iterator[str]:
    if not judgements:
        return
    if all(one.judge == AnnotatorKind.SIMULATION for one in judgements):
        yield "Its annotators were simulated: it shows that the method works, not what people prefer."
    elif any(one.judge == AnnotatorKind.SIMULATION for one in judgements):
        yield "Some of its annotators were simulated, and stand apart in the counts above."
    people = [one for one in judgements if one.judge == AnnotatorKind.PERSON]
    total = sum(one.total for one in people)
    if people and total < FEW_JUDGEMENTS:
        yield f"Only {total:,} annotations of people are behind it: the taste of a few shows in it."
    if withdrawn := sum(one.withdrawn for one in judgements):
        verb = "counts" if withdrawn == 1 else "count"
        yield f"{withdrawn:,} of these annotations no longer {verb}; it has not unlearnt what they said."


def _of_its_training(entry: LineageEntry) -> Iterator[str]:
    run = entry.run
    if run is None:
        return
    if run.kind in _BY_TRIAL:
        agreement_text = run_overview.agreement(run.reward_model)
        text = f", which agrees with held-out annotations {agreement_text}" if agreement_text else ""
        yield f"It was trained to please a score{text}: where the score errs, so may it."
    if stop := run.result.get("stopped"):
        yield f"Its run ended before its time: {stop.get('message') or stop.get('code') or 'at a bound'}"


def _of_figures(evaluations: Sequence[Evaluation]) -> Iterator[str]:
    if not evaluations:
        yield "No figure of it has been measured on texts that it did not train on."
    elif any(e.n < 100 for e in evaluations):
        yield "Some figures rest on fewer than 100 examples; read them with their intervals."


def _of_records(line: Sequence[LineageEntry]) -> Iterator[str]:
    if not line[-1].model.licence:
        yield "No licence is stated; ask before it is used elsewhere."
    if any(one.is_hidden for one in line):
        yield "Part of its history lies in projects that this card may not tell of."
    if line[0].run is None and not line[0].is_hidden:
        yield f"What {line[0].model.name} was trained on, before it came here, is not recorded here."
