"""The latest answers of several runs to the prompts that they share, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training.models import Run, Sample
from training.runs.figures.word_differences import difference
from training.runs.present import run_samples
from training.runs.present.run_samples import Answer

_PROMPTS = 3
MOST_COLUMNS = 4  # answers that one can read beside each other


@dataclass(frozen=True)
class Beside:
    """One prompt, and the answer of each run; None where a run was not asked it."""

    prompt: str
    answers: tuple[tuple[Run, Answer | None], ...]
    reason: str  # why nothing is marked; of two answers only are the words marked that differ


def compared_samples(runs: Sequence[Run]) -> list[Beside]:
    """Return prompts that at least two of the first runs answered, those that most of them did first."""
    by_run = [(run, run_samples.latest_samples(run)) for run in runs]
    by_run = [(run, samples) for run, samples in by_run if samples][:MOST_COLUMNS]
    counts: dict[str, int] = {}
    for _, samples in by_run:
        for key in samples:
            counts[key] = counts.get(key, 0) + 1
    shared = sorted((key for key, count in counts.items() if count > 1), key=lambda key: -counts[key])
    return [_beside([(run, samples.get(key)) for run, samples in by_run]) for key in shared[:_PROMPTS]]


def _beside(samples: Sequence[tuple[Run, Sample | None]]) -> Beside:
    present = [sample for _, sample in samples if sample is not None]
    prompt = present[0].prompt[-1]["content"]
    if len(samples) == 2 and len(present) == 2:
        marked = difference(*(sample.completion for sample in present))
        pieces = (marked.before, marked.after)
        answers = [
            (run, run_samples.answer_of(s, part)) for (run, _), s, part in zip(samples, present, pieces, strict=True)
        ]
        return Beside(prompt, tuple(answers), marked.reason)
    return Beside(prompt, tuple((run, run_samples.answer_of(s) if s else None) for run, s in samples), "")
