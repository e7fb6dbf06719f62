"""Derive which of the five steps comes next from what is there. Pure: no Django."""

from __future__ import annotations

from dataclasses import dataclass

MODEL, PROMPTS, ANSWERS, ANNOTATIONS, TRAINING = STEPS = ("model", "prompts", "answers", "annotations", "training")
TITLES = {
    MODEL: "Your model",
    PROMPTS: "Prompts",
    ANSWERS: "Answers",
    ANNOTATIONS: "Annotations",
    TRAINING: "Training",
}


@dataclass(frozen=True)
class Facts:
    """What is there. `is_importing` is a file that waits to be checked or taken; counts are of the train split."""

    has_model: bool = False
    prompts: int = 0
    is_importing: bool = False
    answers: int = 0
    is_sampling: bool = False
    has_annotations: bool = False
    has_training: bool = False  # a run is ordered, whatever came of it
    has_child: bool = False


@dataclass(frozen=True)
class Step:
    """`state` is done, now or later."""

    name: str
    number: int
    title: str
    state: str


def current_step(facts: Facts) -> str:
    """Return the first step that is not done. Annotating has no end: training begins when somebody orders it."""
    if not facts.has_model:
        return MODEL
    if facts.has_training:
        return TRAINING
    if facts.is_importing or not facts.prompts:
        return PROMPTS
    if facts.is_sampling or not (facts.answers or facts.has_annotations):
        return ANSWERS
    return ANNOTATIONS


def steps(facts: Facts) -> list[Step]:
    """Return all five with their state; after the child none is left to do."""
    current = len(STEPS) if facts.has_child else STEPS.index(current_step(facts))
    states = ["done" if n < current else "now" if n == current else "later" for n in range(len(STEPS))]
    return [Step(name, n + 1, TITLES[name], states[n]) for n, name in enumerate(STEPS)]
