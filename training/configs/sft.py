from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class SFTConfig:
    """Supervised finetuning on demonstrations and best-rated answers, loss on completions only (TRL)."""

    kind: ClassVar[str] = "sft"
    learning_rate: float = option(2e-4, "peak learning rate", low=1e-8, high=1)
    epochs: float = option(1.0, "passes over the data", low=0.01, high=100)
    batch_size: int = option(8, "examples in one optimiser step", low=1, high=4096)
    max_length: int = option(512, "longest example, in tokens", low=8, high=131072)
    adapters: str = option(
        "lora",
        "lora: adapters on all layers; top: in the top third, quicker; full: every weight",
        choices=("lora", "top", "full"),
    )
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    warmup_ratio: float = option(0.1, "share of the steps that warm the rate up", low=0, high=1, advanced=True)
    checkpoint_every: int = option(10, "optimiser steps between checkpoints", low=1, high=100000, advanced=True)
    sample_every: int = option(20, "optimiser steps between sample completions", low=1, high=100000, advanced=True)
    sample_tokens: int = option(48, "longest sample completion, in tokens", low=1, high=4096, advanced=True)
