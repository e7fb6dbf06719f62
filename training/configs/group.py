"""GRPO and RLOO: several answers to each prompt are each other's baseline."""

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
from training.configs.rewards.part_lines import check_rewards, rewards_option


@dataclass(frozen=True)
class GroupConfig(RateByAdapters, ForwardPasses):
    """Hold the options that GRPO and RLOO share."""

    reward_function: str = option("", "a function that the operator lists, instead of a reward model")
    rewards: str = rewards_option()
    trust_unproven_reward: bool = option(
        False, "allow a reward model whose held-out accuracy is not better than chance"
    )
    steps: int = option(20, "batches of completions, with an optimiser step each; see epochs", low=1, high=100000)
    batch_size: int = option(32, "completions in one step", low=2, high=65536)
    group_size: int = option(4, "completions of each prompt", low=2, high=1024)
    max_new_tokens: int = option(64, "longest completion, in tokens", low=1, high=4096)
    rates: ClassVar[dict[str, float]] = {"adapters": 1e-3, "full": 1e-4}
    learning_rate: float | None = learning_rate_option("Adam's learning rate", **rates)
    beta: float = option(0.05, "coefficient of the KL from the parent; 0: none", low=0, high=100)
    adapters: str = option(
        "lora",
        "lora: adapters on all layers; top: in the top third, quicker; full: every weight",
        choices=("lora", "top", "full"),
    )
    temperature: float = option(1.0, "divides the logits in rollouts and in logprobs", low=0.05, high=5, advanced=True)
    score_clip: float = option(
        3.0,
        "a reward model's standardised scores are clipped to this; 0: no clipping, as for functions and for rewards, "
        "whose parts have limits of their own",
        low=0,
        high=1e6,
        advanced=True,
    )
    clip: float = option(0.2, "clip range of the policy ratio", low=0.001, high=10, advanced=True)
    max_prompt_tokens: int = option(256, "longer prompts are left out", low=8, high=131072, advanced=True)
    epochs: int = option(
        1, "passes over each batch of completions; from the second on the clipped ratio counts", low=1, high=100,
        advanced=True,
    )  # fmt: skip
    minibatches: int = option(
        1, "optimiser steps in each pass, each on some of the prompts with all their completions", low=1, high=4096,
        advanced=True,
    )  # fmt: skip
    micro_batch_size: int = option(
        0, "most completions per forward pass; 0: as many as memory holds; gradients accumulate", low=0, high=65536,
        advanced=True,
    )  # fmt: skip
    learning_rate_schedule: str = option(
        "linear", "linear falls to 0 at the last step", choices=("constant", "linear"), advanced=True
    )
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1e6, advanced=True)
    lora_rank: int = option(8, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    checkpoint_every: int = option(5, "steps between checkpoints", low=1, high=100000, advanced=True)
    kept_checkpoints: int = kept_checkpoints_option()
    sample_every: int = option(5, "steps between sample completions", low=1, high=100000, advanced=True)
    processes: int = option(
        1, "processes that share each forward pass: one per GPU, or several on a CPU", low=1, high=64, advanced=True
    )
    sharding: str = sharding_option()
    nodes: int = nodes_option()

    def cross_check(self) -> dict[str, str]:
        if errors := check_rewards(self):
            return errors
        if self.batch_size % self.group_size:
            return {"group_size": f"must divide batch_size, {self.batch_size}: each prompt gets a complete group."}
        if self.minibatches > (prompts := self.batch_size // self.group_size):
            return {"minibatches": f"must be at most {prompts}, the prompts of a batch: no minibatch may be empty."}
        return check_processes(self, batch_size=self.rows_at_once, rows="completions", limit=self.limit)


@dataclass(frozen=True)
class GRPOConfig(GroupConfig):
    """Group relative policy optimisation."""

    kind: ClassVar[str] = "grpo"
    scale_rewards: str = option(
        "group",
        "group: divide advantages by the deviation of their group; batch: of the batch; none: do not divide (Dr. GRPO)",
        choices=("group", "batch", "none"),
        advanced=True,
    )
    loss: str = option(
        "dapo", "how token losses are averaged", choices=("dapo", "grpo", "bnpo", "dr_grpo"), advanced=True
    )


@dataclass(frozen=True)
class RLOOConfig(GroupConfig):
    """REINFORCE leave-one-out."""

    kind: ClassVar[str] = "rloo"
    normalise_advantages: bool = option(
        False, "scale advantages to mean 0 and variance 1 over the batch", advanced=True
    )
