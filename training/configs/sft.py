from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import (
    RateByAdapters,
    check_processes,
    kept_checkpoints_option,
    learning_rate_option,
    nodes_option,
    option,
    sharding_option,
)


@dataclass(frozen=True)
class SFTConfig(RateByAdapters):
    """Supervised finetuning on demonstrations, best-rated answers, chats and instructions, loss on answers only."""

    kind: ClassVar[str] = "sft"
    rates: ClassVar[dict[str, float]] = {"adapters": 2e-4, "full": 2e-5}
    learning_rate: float | None = learning_rate_option("peak learning rate", **rates)
    epochs: float = option(1.0, "passes over the data", low=0.01, high=100)
    batch_size: int = option(
        8, "examples in one optimiser step; they need not fit in memory together", low=1, high=4096
    )
    max_length: int = option(512, "longest example, in tokens", low=8, high=131072)
    adapters: str = option(
        "lora",
        "lora: adapters on all layers; top: in the top third, quicker; full: every weight; "
        "qlora: adapters over a model in 4 bits, on a CUDA GPU with bitsandbytes",
        choices=("lora", "top", "full", "qlora"),
    )
    held_out: float = option(
        0.1,
        "share of the prompts held out to measure perplexity before and after; none if this is under 10 examples",
        low=0,
        high=0.5,
    )
    keep: str = option(
        "best",
        "best: the measured step with the lowest held-out loss; last: the last step, also used without "
        "held-out examples",
        choices=("best", "last"),
    )
    schedule: str = option(
        "linear", "how the learning rate falls after warm-up", choices=("linear", "cosine", "constant"), advanced=True
    )
    lora_rank: int = option(8, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    warmup_ratio: float = option(0.1, "share of the steps for warm-up", low=0, high=1, advanced=True)
    weight_decay: float = option(0.0, "AdamW's weight decay, for matrices only", low=0, high=10, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1e6, advanced=True)
    activation_checkpointing: str = option(
        "auto",
        "recompute activations to save memory; auto: if memory is short",
        choices=("auto", "on", "off"),
        advanced=True,
    )
    processes: int = option(
        1, "processes that share each step: one per GPU, or several on a CPU", low=1, high=64, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()
    evaluate_every: int = option(50, "optimiser steps between held-out measurements", low=1, high=100000, advanced=True)
    evaluate_limit: int = option(200, "maximum held-out examples per measurement", low=20, high=100000, advanced=True)
    checkpoint_every: int = option(10, "optimiser steps between checkpoints", low=1, high=100000, advanced=True)
    kept_checkpoints: int = kept_checkpoints_option()
    sample_every: int = option(20, "optimiser steps between sample completions", low=1, high=100000, advanced=True)
    sample_tokens: int = option(48, "longest sample completion, in tokens", low=1, high=4096, advanced=True)

    def cross_check(self) -> dict[str, str]:
        if self.sharding == "full" and self.adapters == "qlora":
            return {"sharding": "full cannot split a model in 4 bits; choose adapters lora, or sharding none."}
        return check_processes(self, batch_size=self.batch_size, rows="examples")
