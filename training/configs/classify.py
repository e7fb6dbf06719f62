"""Finetuning for a task, and a few texts tried on the classifier that came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option

LEARNING_RATES = {"lora": 2e-4, "full": 2e-5, "head": 0.0}


@dataclass(frozen=True)
class ClassifyConfig:
    """Finetune for text classification: a linear head in float32 on the pooled states of a model."""

    kind: ClassVar[str] = "classify"
    adapters: str = option(
        "lora",
        "lora: adapters on all layers and the head; full: every weight; head: only the head, fitted at once, "
        "the fastest and often good enough",
        choices=("lora", "full", "head"),
    )
    epochs: float = option(3.0, "passes over the texts; not used for head", low=0.01, high=1000)
    batch_size: int = option(16, "texts in one optimiser step", low=1, high=4096)
    learning_rate: float | None = option(
        None, "peak learning rate; empty: 2e-4 for lora, 2e-5 for full", low=1e-8, high=1
    )
    max_length: int = option(256, "tokens read from each text", low=8, high=131072)
    pooling: str = option(
        "mean", "mean: over all of a text's tokens; last: the last token's state", choices=("mean", "last")
    )
    balanced: bool = option(False, "each label has the same weight, independent of its number of texts")
    labels: str = option(
        "", "the allowed labels, separated by commas; empty: those of the dataset. Other labels are errors"
    )
    held_out_share: float = option(
        0.2,
        "share of texts of each label that is held out to measure; not used with a second dataset",
        low=0.02,
        high=0.9,
    )
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    schedule: str = option("linear", "how the rate falls", choices=("constant", "linear", "cosine"), advanced=True)
    warmup_ratio: float = option(0.1, "share of the steps for warm-up", low=0, high=1, advanced=True)
    weight_decay: float = option(0.01, "for matrices only", low=0, high=10, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1000, advanced=True)
    evaluate_every: int = option(
        50, "optimiser steps between measurements on held-out texts", low=1, high=10**6, advanced=True
    )
    checkpoint_every: int = option(50, "optimiser steps between checkpoints", low=1, high=10**6, advanced=True)

    @property
    def peak_rate(self) -> float:
        return LEARNING_RATES[self.adapters] if self.learning_rate is None else self.learning_rate

    def cross_check(self) -> dict[str, str]:
        named = [name.strip() for name in self.labels.split(",") if name.strip()]
        if len(named) == 1 or len(set(named)) != len(named):
            return {"labels": "Enter at least two different labels, or none to use those of the dataset."}
        return {}


MOST_TEXTS = 200
LONGEST = 100_000


@dataclass(frozen=True)
class LabelConfig:
    """A few texts, tried on a classifier. Whoever may read the run may read them."""

    kind: ClassVar[str] = "label"
    texts: str = option(
        "I would see this film again tomorrow.\nTwo hours that nobody will give me back.",
        "one on each line; everybody who can read the run can read them",
        multiline=True,
    )

    def cross_check(self) -> dict[str, str]:
        lines = lines_of(self.texts)
        if not lines:
            return {"texts": "must contain a text; write one on each line."}
        if len(lines) > MOST_TEXTS or len(self.texts) > LONGEST:
            return {
                "texts": f"must be at most {MOST_TEXTS} texts and {LONGEST:,} characters, not {len(lines):,} and "
                f"{len(self.texts):,}; for more, pipe them into training.recipes.classify_predict."
            }
        return {}


def lines_of(texts: str) -> list[str]:
    return [line.strip() for line in texts.splitlines() if line.strip()]
