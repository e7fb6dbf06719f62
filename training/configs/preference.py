"""DPO and KTO: they learn from annotations at once, without a reward model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import (
    ForwardPasses,
    RateByAdapters,
    check_processes,
    kept_checkpoints_option,
    learning_rate_option,
    nodes_option,
    option,
    sharding_option,
)

# What the recipes need to train on, after a share of the prompts is held out.
FEWEST_PAIRS = 8  # DPO: comparisons with a winner
FEWEST_OF_EACH = 4  # KTO: thumbs up, and thumbs down


@dataclass(frozen=True)
class PreferenceConfig(RateByAdapters, ForwardPasses):
    """Hold the options that DPO and KTO share."""

    rates: ClassVar[dict[str, float]] = {"adapters": 2e-4, "full": 2e-5}
    learning_rate: float | None = learning_rate_option("peak learning rate", **rates)
    epochs: float = option(1.0, "passes over the data", low=0.01, high=100)
    batch_size: int = option(8, "examples in one optimiser step", low=2, high=4096)
    beta: float = option(0.1, "strength of the KL penalty: higher stays closer to the parent", low=1e-4, high=100)
    adapters: str = option(
        "lora",
        "lora: adapters on all layers; top: in the top third, quicker; full: every weight",
        choices=("lora", "top", "full"),
    )
    held_out: float = option(0.1, "share of prompts held out to measure", low=0.05, high=0.5)
    max_prompt_tokens: int = option(256, "longer prompts keep their last tokens", low=8, high=131072, advanced=True)
    max_completion_tokens: int = option(
        256, "longer completions keep their first tokens", low=1, high=131072, advanced=True
    )
    lora_rank: int = option(8, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    micro_batch_size: int = option(
        0, "most examples per forward pass; 0: as many as memory holds; gradients accumulate to batch_size", low=0,
        high=4096, advanced=True,
    )  # fmt: skip
    activation_checkpointing: str = option(
        "off",
        "on: recompute activations to save memory",
        choices=("on", "off"),
        advanced=True,
    )
    warmup_ratio: float = option(0.1, "share of the steps for warm-up", low=0, high=1, advanced=True)
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1e6, advanced=True)
    checkpoint_every: int = option(10, "optimiser steps between checkpoints", low=1, high=100000, advanced=True)
    kept_checkpoints: int = kept_checkpoints_option()
    sample_every: int = option(20, "optimiser steps between sample completions", low=1, high=100000, advanced=True)
    sample_tokens: int = option(48, "longest sample completion, in tokens", low=1, high=4096, advanced=True)
    processes: int = option(
        1, "processes that share each forward pass: one per GPU, or several on a CPU", low=1, high=64, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()

    def cross_check(self) -> dict[str, str]:
        if errors := self.check_micro_batches():
            return errors
        return check_processes(self, batch_size=self.rows_at_once, rows="examples", limit=self.limit)


@dataclass(frozen=True)
class DPOConfig(PreferenceConfig):
    """Direct preference optimisation on pairs."""

    kind: ClassVar[str] = "dpo"
    loss: str = option(
        "sigmoid",
        "sigmoid: DPO; ipo: a bounded margin; hinge: SLiC; robust: votes are wrong at a known rate",
        choices=("sigmoid", "ipo", "hinge", "robust"),
    )
    label_smoothing: float = option(
        0.0, "assumed share of wrong votes (sigmoid and robust)", low=0, high=0.49, advanced=True
    )

    def cross_check(self) -> dict[str, str]:
        errors = super().cross_check()
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            errors["label_smoothing"] = f"must be 0 with the loss {self.loss}."
        if self.loss == "robust" and not self.label_smoothing:
            errors["label_smoothing"] = "must be above 0 with the loss robust: the assumed share of wrong votes."
        return errors


@dataclass(frozen=True)
class KTOConfig(PreferenceConfig):
    """Kahneman-Tversky optimisation on thumbs."""

    kind: ClassVar[str] = "kto"
    balance: bool = option(True, "give thumbs up and thumbs down the same total weight")
