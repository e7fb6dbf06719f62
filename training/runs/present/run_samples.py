"""The samples of a run: what the model said of one prompt at first and what it says now, and pairs of answers."""

from __future__ import annotations

import json
from dataclasses import dataclass

from annotate.data.feedback_lineage import asked_in_the_arena
from annotate.models import Completion
from common.splits import text_hash
from training.models import Run, Sample
from training.runs.figures import curves

_PAIRS = 6
_SAMPLES = 200


@dataclass(frozen=True)
class ThenAndNow:
    """One prompt, answered early and late in training."""

    prompt: str
    early: Sample
    late: Sample | None

    @property
    def early_score(self) -> str:
        return _score(self.early)

    @property
    def late_score(self) -> str:
        return _score(self.late) if self.late else ""


def then_and_now(run: Run) -> list[ThenAndNow]:
    """Return for each prompt its first sample and its latest, those that were answered twice before the others.

    Anybody may read this page, so what somebody asked in the arena is left out.
    """
    first: dict[str, Sample] = {}
    last: dict[str, Sample] = {}
    for sample in _first_and_last_samples(run):
        key = json.dumps(sample.prompt, sort_keys=True)
        first.setdefault(key, sample)
        last[key] = sample
    asked_hashes = asked_in_the_arena(run.project, (s.prompt for s in first.values()))
    pairs = [
        ThenAndNow(s.prompt[-1]["content"], s, last[k] if last[k] != s else None)
        for k, s in first.items()
        if text_hash(s.prompt) not in asked_hashes
    ]
    return sorted(pairs, key=lambda pair: pair.late is None)[:_PAIRS]


def _first_and_last_samples(run: Run) -> list[Sample]:
    """Return samples in order. A long run has thousands; the page shows a few prompts, so the ends suffice."""
    ordered = run.samples.order_by("step", "sequence")
    first = list(ordered[:_SAMPLES])
    if len(first) < _SAMPLES:
        return first
    last = list(ordered.reverse()[:_SAMPLES])
    known_ids = {sample.pk for sample in first}
    return first + [sample for sample in reversed(last) if sample.pk not in known_ids]


def sampled_answers(run: Run) -> list[Completion]:
    """Return a few of the completions that the run sampled, each to another prompt."""
    completions: dict[int, Completion] = {}
    for completion in run.completions.select_related("prompt").order_by("pk")[: _PAIRS * 16]:
        completions.setdefault(completion.prompt_id, completion)
    return list(completions.values())[:_PAIRS]


def _score(sample: Sample) -> str:
    return "" if sample.score is None else curves.number(round(sample.score, 1))
