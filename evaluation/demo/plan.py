"""Define how large a turn is, and what its stages share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from annotate.models import Dataset, LanguageModel, Project, User


@dataclass(frozen=True)
class Plan:
    """Sizes that give a clear result within twenty minutes on two cores."""

    model: str = "bundled"
    taste: str = "annotate.simulation.tastes.addresses_the_reader"
    annotators: int = 6
    completions_per_prompt: int = 4
    max_new_tokens: int = 64
    ratings: int = 700
    comparisons: int = 900
    eval_completions_per_prompt: int = 2
    battles: int = 480
    pretrain_tokens: int = 800_000
    fewest_votes: int = 50
    worst_accuracy: float = 0.05  # a share of the suite's items
    worst_bits: float = 0.1  # per byte
    worst_surprise: float = 0.2  # nats a token of answers under the parent, above the parent's own
    texts_measured: int = 60  # of those that the corpus held out
    # Of some 140 examples a tenth is held out, and of 16 steps every fourth is measured.
    sft: dict[str, Any] = field(default_factory=lambda: {"held_out": 0.1, "keep": "best", "evaluate_every": 4})
    reward: dict[str, Any] = field(default_factory=dict)
    ppo: dict[str, Any] = field(default_factory=dict)
    corpus: dict[str, Any] = field(default_factory=lambda: {"sources": "python:topics\npython:docstrings"})
    tokenizer: dict[str, Any] = field(default_factory=lambda: {"vocab_size": 4096})
    pretrain: dict[str, Any] = field(
        default_factory=lambda: {"size": "3M", "epochs": 1000.0, "context_length": 256, "batch_size": 8}
    )


@dataclass
class Turn:
    """A turn under way: what is fixed, and the models that its stages have found or made so far."""

    url: str
    project: Project
    researcher: User
    plan: Plan
    base: LanguageModel | None = None
    sft: LanguageModel | None = None
    reward: LanguageModel | None = None
    ppo: LanguageModel | None = None
    corpus: Dataset | None = None
    tokenizer: LanguageModel | None = None
    pretrained: LanguageModel | None = None

    def page(self, path: str) -> str:
        return f"{self.url}{path}"


# report(done, total, note, ends_at): what a stage says of itself while it works
Report = Callable[[int, int, str, datetime | None], None]


@dataclass(frozen=True)
class Stage:
    """Describe a stage. `carry_out` says in a few words what stands when it is over; `seconds` is what it took on two
    cores."""

    title: str
    carry_out: Callable[[Turn, Report], str]
    seconds: int


class TurnStopped(Exception):
    """The turn cannot go on: why, and what to do about it, in words."""
