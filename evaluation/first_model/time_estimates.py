"""Estimate how long a step takes, before it begins. Pure: no Django.

Earlier runs of that kind here are the best guides: their median, for any of them may have shared its machine with other
work. Without any the demo is: SmolLM2-135M-Instruct on two cores of an AMD EPYC, 740 answers of 64 tokens in 160 s, SFT
on 140 examples in 90 s, a reward model from 740 answers in 90 s, PPO over 384 episodes in 330 s
(`evaluation/demo/stages.py`). DPO and KTO, which run SFT's model, are reckoned by SFT: its example is three forward
passes long, one of them forward and two backward. A pair is two such examples and two answers' reference; a thumb is
one, and forward passes of its reference, of another answer and of that one's. Time grows with parameters and with
tokens; a GPU is many times faster than this says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

REFERENCE_PARAMETERS = 135e6
REFERENCE_TOKENS = 64
START_SECONDS = 15.0  # a process that loads torch and a model
FORWARD_SECONDS = 75 / 140 / 3
SECONDS_PER_ITEM = {
    "sample": 145 / 740,  # an answer of 64 tokens
    "sft": 3 * FORWARD_SECONDS,  # an example
    "reward": 75 / 740,  # an annotated answer
    "dpo": 2 * (3 + 1) * FORWARD_SECONDS,  # a pair
    "kto": (3 + 1 + 1 + 1) * FORWARD_SECONDS,  # a thumb
    "ppo": 315 / 384,  # an episode of 64 tokens
}
PPO_EPISODES = 384
ANNOTATION_SECONDS = 30.0  # what the project's page tells annotators, while nobody has been timed
BY_DEMO = "by a small model on two cores; a GPU is many times faster"
BY_EARLIER = "by an earlier run of this kind here"
BY_SEVERAL = "by the median of {n} earlier runs of this kind here"


@dataclass(frozen=True)
class Estimate:
    """`basis` says what it rests on."""

    seconds: float
    basis: str


@dataclass(frozen=True)
class EarlierRun:
    """A run of the same kind that ended well: seconds, items, and what they were made of."""

    seconds: float
    items: int
    parameters: float
    tokens: int = REFERENCE_TOKENS


def of_run(
    kind: str,
    items: int,
    *,
    parameters: float | None,
    tokens: int = REFERENCE_TOKENS,
    earlier: Sequence[EarlierRun] = (),
) -> Estimate:
    """Return the seconds of a run over so many items. `tokens` are those that it generates for each."""
    size = parameters or REFERENCE_PARAMETERS
    if known := [run for run in earlier if run.items > 0]:
        seconds = median(_seconds_like(run, items, size, tokens) for run in known)
        return Estimate(seconds, BY_EARLIER if len(known) == 1 else BY_SEVERAL.format(n=len(known)))
    scale = size / REFERENCE_PARAMETERS * tokens / REFERENCE_TOKENS
    return Estimate(START_SECONDS + SECONDS_PER_ITEM[kind] * scale * items, BY_DEMO)


def _seconds_like(run: EarlierRun, items: int, size: float, tokens: int) -> float:
    work = max(run.seconds - START_SECONDS, 0.0) / run.items
    scale = size / (run.parameters or size) * tokens / (run.tokens or tokens)
    return min(START_SECONDS, run.seconds) + work * scale * items


def of_annotating(items: int, seconds: Sequence[float]) -> Estimate:
    """Return the time of one person, by the median of what annotations have taken here."""
    if seconds:
        return Estimate(items * median(seconds), "by the median of those made here")
    return Estimate(items * ANNOTATION_SECONDS, f"at {ANNOTATION_SECONDS:g} seconds each")


def in_words(seconds: float) -> str:
    """Return a rough time: less than a minute, about 7 minutes, about 3 hours."""
    if seconds < 50:
        return "less than a minute"
    minutes = seconds / 60
    if minutes < 90:
        n = max(1, round(minutes)) if minutes < 10 else 5 * round(minutes / 5)
        return f"about {n} minute{'' if n == 1 else 's'}"
    hours = round(minutes / 60)
    return f"about {hours} hours" if hours < 48 else f"about {round(hours / 24)} days"
