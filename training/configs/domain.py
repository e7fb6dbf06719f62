from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class DomainConfig:
    """Go on with causal training on the texts of one domain."""

    kind: ClassVar[str] = "domain"
    epochs: float = option(1.0, "passes over the corpus", low=0.001, high=1000)
    max_tokens: int | None = option(None, "stop after so many tokens, whatever epochs says", low=100, high=10**14)
    adapters: str = option(
        "lora",
        "lora: adapters on all layers; top: in the top third, quicker; full: every weight",
        choices=("lora", "top", "full"),
    )
    learning_rate: float | None = option(
        None, "peak learning rate; empty: 4e-4 for adapters, 3e-5 for every weight", low=1e-8, high=1
    )
    context_length: int = option(512, "tokens that the model sees at once", low=16, high=131072)
    batch_size: int = option(8, "rows of context_length tokens in one optimiser step", low=1, high=65536)
    replay_share: float = option(
        0.1, "share of the rows that come from the second dataset, where one is given", low=0, high=0.9
    )
    processes: int = option(1, "processes that share each step: one per GPU, or several on a processor", low=1, high=64)

    schedule: str = option(
        "cosine", "how the rate falls", choices=("cosine", "wsd", "linear", "constant"), advanced=True
    )
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    warmup_ratio: float = option(0.05, "share of the steps that warm the rate up", low=0, high=1, advanced=True)
    decay_ratio: float = option(0.2, "wsd: share of the steps in which the rate falls", low=0, high=1, advanced=True)
    final_rate: float = option(0.1, "share of the peak rate at the end", low=0, high=1, advanced=True)
    weight_decay: float = option(0.01, "of matrices; vectors have none", low=0, high=10, advanced=True)
    beta2: float = option(0.95, "of AdamW", low=0.5, high=0.9999, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1000, advanced=True)
    dtype: str = option(
        "auto", "of the products; what learns is float32", choices=("auto", "bfloat16", "float32"), advanced=True
    )
    micro_batch_size: int | None = option(
        None, "rows computed at once; empty: what fits the memory", low=1, high=65536, advanced=True
    )
    activation_checkpointing: str = option(
        "auto", "compute activations twice to keep fewer", choices=("auto", "on", "off"), advanced=True
    )
    validate_every: int = option(20, "optimiser steps between validations", low=1, high=10**6, advanced=True)
    validation_tokens: int = option(20_000, "held-out tokens looked at each time", low=256, high=10**9, advanced=True)
    checkpoint_every: int = option(20, "optimiser steps between checkpoints", low=1, high=10**6, advanced=True)
    sample_every: int = option(50, "optimiser steps between sample texts", low=1, high=10**6, advanced=True)
    sample_tokens: int = option(48, "longest sample, in tokens", low=1, high=4096, advanced=True)

    def cross_check(self) -> dict[str, str]:
        if self.processes > self.batch_size:
            return {"processes": f"must be at most batch_size ({self.batch_size}): each takes its share of the rows."}
        return {}

    @property
    def rate(self) -> float:
        return self.learning_rate or (3e-5 if self.adapters == "full" else 4e-4)
