"""The samples of a run: what the model said of one prompt at first and at another step, and completions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from annotate.data.feedback_lineage import asked_in_the_arena
from annotate.models import Completion
from common.splits import text_hash
from common.texts import lines_on_a_phone
from training.models import Run, Sample
from training.runs.figures import curves
from training.runs.figures.word_differences import Piece, difference

_PROMPTS = 6
_SAMPLES = 200
_STEPS = 12
_LONG = 5  # lines on a phone that an answer takes before its box may scroll


@dataclass(frozen=True)
class Answer:
    """One answer in pieces, some of which the other answer to its prompt does not have."""

    step: int
    score: str
    parts: str  # of the score, where a reward has several
    pieces: tuple[Piece, ...]
    is_long: bool  # its box may scroll, and then the keyboard must reach it


@dataclass(frozen=True)
class SampledPrompt:
    """One prompt, answered first and at the step that is looked at; `now` is None where it was answered once."""

    prompt: str
    first: Answer
    now: Answer | None
    reason: str  # why nothing is marked; empty when the difference is


def context(run: Run, step: int | None = None) -> dict[str, Any]:
    """Return the samples of a step beside the first ones, the steps there are, and what the run sampled in bulk."""
    is_over = run.state == Run.State.SUCCEEDED
    steps = steps_of(run)
    return {
        "sampled_prompts": sampled_prompts(run, step),
        "sampled_steps": steps,
        "shown_step": step if step in steps else steps[-1] if steps else None,
        "answers": sampled_answers(run) if is_over else [],
        "completions": run.completions.count() if is_over else 0,
    }


def steps_of(run: Run) -> list[int]:
    """Return the steps after the first that have samples: a dozen of them at most, always with the last."""
    steps = list(run.samples.order_by("step").values_list("step", flat=True).distinct())
    return curves.evenly(steps[1:], _STEPS)


def sampled_prompts(run: Run, step: int | None = None) -> list[SampledPrompt]:
    """Return for each prompt its first sample and that of a step, else its latest; those answered twice come first.

    Anybody may read this page, so what somebody asked in the arena is left out.
    """
    first: dict[str, Sample] = {}
    last: dict[str, Sample] = {}
    for sample in _samples(run, step):
        first.setdefault(_key(sample), sample)
        last[_key(sample)] = sample
    pairs = [(sample, last[key]) for key, sample in _readable(run, first).items()]
    pairs.sort(key=lambda pair: pair[0] is pair[1])
    return [_beside(early, late if late is not early else None) for early, late in pairs[:_PROMPTS]]


def latest_samples(run: Run) -> dict[str, Sample]:
    """Return the latest sample of each prompt, by the prompt as JSON."""
    return _readable(run, {_key(sample): sample for sample in _samples(run, None)})


def answer_of(sample: Sample, pieces: Sequence[Piece] | None = None) -> Answer:
    """Return the answer in these pieces, else in one."""
    if pieces is None:
        pieces = [Piece(sample.completion, False)] if sample.completion else []
    score = "" if sample.score is None else curves.number(round(sample.score, 1))
    parts = " · ".join(f"{name.replace('_', ' ')} {curves.number(value)}" for name, value in sample.parts.items())
    return Answer(sample.step, score, parts, tuple(pieces), lines_on_a_phone(sample.completion) > _LONG)


def sampled_answers(run: Run) -> list[Completion]:
    """Return a few of the completions that the run sampled, each to another prompt."""
    completions: dict[int, Completion] = {}
    for completion in run.completions.select_related("prompt").order_by("pk")[: _PROMPTS * 16]:
        completions.setdefault(completion.prompt_id, completion)
    return list(completions.values())[:_PROMPTS]


def _samples(run: Run, step: int | None) -> list[Sample]:
    """Return samples in order. A long run has thousands; the page shows a few prompts, so the ends suffice."""
    ordered = run.samples.order_by("step", "sequence")
    first = list(ordered[:_SAMPLES])
    if step is not None and (chosen := list(ordered.filter(step=step)[:_SAMPLES])):
        earlier = [sample for sample in first if sample.step < step]
        return [*earlier, *chosen]
    if len(first) < _SAMPLES:
        return first
    last = list(ordered.reverse()[:_SAMPLES])
    known_ids = {sample.pk for sample in first}
    return first + [sample for sample in reversed(last) if sample.pk not in known_ids]


def _key(sample: Sample) -> str:
    return json.dumps(sample.prompt, sort_keys=True)


def _readable(run: Run, samples: dict[str, Sample]) -> dict[str, Sample]:
    """Return the samples without those of prompts that somebody asked in the arena."""
    asked_hashes = asked_in_the_arena(run.project, (sample.prompt for sample in samples.values()))
    return {key: sample for key, sample in samples.items() if text_hash(sample.prompt) not in asked_hashes}


def _beside(early: Sample, late: Sample | None) -> SampledPrompt:
    prompt = early.prompt[-1]["content"]
    if late is None:
        return SampledPrompt(prompt, answer_of(early), None, "")
    marked = difference(early.completion, late.completion)
    return SampledPrompt(prompt, answer_of(early, marked.before), answer_of(late, marked.after), marked.reason)
