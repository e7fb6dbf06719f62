from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import check_processes, nodes_option, option, sharding_option


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
        "the layers that the head uses, and how it pools their tokens. cross-validation: the best of six sets on the "
        "training prompts; mean: all tokens, at a half and two thirds of the depth; last: the last token, at two "
        "thirds; both: mean and last; final: the last token after the last layer, as sequence classifiers of other "
        "tools, to which such a reward model can be exported",
        choices=("cross-validation", "mean", "last", "both", "final"),
    )
    adapters: str = option("lora", "what finetuning trains", choices=("lora", "full"), advanced=True)
    held_out: float = option(
        0.25,
        "share of prompts held out to measure accuracy, and to train a second head that checks policies",
        low=0.05,
        high=0.5,
    )
    curve: bool = option(True, "also train on an eighth, a quarter and a half of the annotations", advanced=True)
    max_prompt_tokens: int = option(256, "longer prompts keep their last tokens", low=8, high=131072, advanced=True)
    max_completion_tokens: int = option(
        256, "longer completions keep their first tokens", low=1, high=131072, advanced=True
    )
    batch_size: int = option(32, "sequences per forward pass", low=1, high=4096, advanced=True)
    learning_rate: float = option(1e-4, "finetune: peak learning rate", low=1e-8, high=1, advanced=True)
    epochs: float = option(1.0, "finetune: passes over the data", low=0.01, high=100, advanced=True)
    lora_rank: int = option(8, "finetune: rank of the LoRA adapters", low=1, high=1024, advanced=True)
    checkpoint_every: int = option(
        20, "finetune: optimiser steps between checkpoints", low=1, high=100000, advanced=True
    )
    finetune_from: int = option(
        2000,
        "auto: from this many annotations on, finetuning is tried too, and kept if it is better by more than a "
        "standard error",
        low=0,
        high=10**9,
        advanced=True,
    )
    processes: int = option(
        1, "processes that share each step: one per GPU, or several on a CPU", low=1, high=64, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()

    def wants_finetuning(self, annotations: int) -> bool:
        """Return whether finetuning is tried with so many annotations."""
        return self.method == "finetune" or (self.method == "auto" and annotations >= self.finetune_from)

    def cross_check(self) -> dict[str, str]:
        return check_processes(self, batch_size=self.batch_size, rows="answers")
