from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class RewardConfig:
    """One scalar reward head learnt from thumbs, stars and pairs together."""

    kind: ClassVar[str] = "reward"
    method: str = option(
        "auto",
        "head: trunk frozen; finetune: LoRA or full; auto: by the number of annotations",
        choices=("auto", "head", "finetune"),
    )
    features: str = option(
        "cross-validation",
        "which layers the head reads, and how it pools their tokens. cross-validation: the best of six sets on the "
        "training prompts; mean: all tokens, at a half and two thirds of the depth; last: the last token, at two "
        "thirds; both: mean and last",
        choices=("cross-validation", "mean", "last", "both"),
    )
    adapters: str = option("lora", "what finetuning trains", choices=("lora", "full"), advanced=True)
    held_out: float = option(
        0.25,
        "share of prompts kept back to measure accuracy, and for a second head that watches a policy follow the first",
        low=0.05,
        high=0.5,
    )
    curve: bool = option(True, "measure heads on an eighth, a quarter and a half of the annotations too", advanced=True)
    max_prompt_tokens: int = option(256, "prompts keep their last tokens", low=8, high=131072, advanced=True)
    max_completion_tokens: int = option(256, "completions keep their first tokens", low=1, high=131072, advanced=True)
    batch_size: int = option(32, "sequences forwarded at once", low=1, high=4096, advanced=True)
    learning_rate: float = option(1e-4, "finetune: peak learning rate", low=1e-8, high=1, advanced=True)
    epochs: float = option(1.0, "finetune: passes over the data", low=0.01, high=100, advanced=True)
    lora_rank: int = option(8, "finetune: rank of the LoRA adapters", low=1, high=1024, advanced=True)
    checkpoint_every: int = option(
        20, "finetune: optimiser steps between checkpoints", low=1, high=100000, advanced=True
    )
    finetune_from: int = option(
        2000,
        "auto: with this many annotations finetuning is tried too, and kept if better by more than a standard error",
        low=0,
        high=10**9,
        advanced=True,
    )
