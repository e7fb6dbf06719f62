from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class PPOConfig:
    """Proximal policy optimisation against a reward model or a Python function."""

    kind: ClassVar[str] = "ppo"
    reward_function: str = option("", "dotted path of a Python function, instead of a reward model")
    steps: int = option(12, "rollout batches", low=1, high=100000)
    batch_size: int = option(32, "episodes in one rollout batch", low=2, high=65536)
    max_new_tokens: int = option(64, "longest completion, in tokens", low=1, high=4096)
    learning_rate: float = option(3e-4, "Adam's learning rate", low=1e-8, high=1)
    adapters: str = option(
        "top",
        "top: LoRA in the top third over a shared trunk; lora: on all layers; full: every weight",
        choices=("top", "lora", "full"),
    )
    # What is sampled
    temperature: float = option(
        1.0, "divides the logits in rollouts and logprobs alike", low=0.05, high=5, advanced=True
    )
    max_prompt_tokens: int = option(256, "prompts keep their last tokens", low=8, high=131072, advanced=True)
    calibration_episodes: int = option(
        64,
        "the parent's own completions: they set score scale, value function and bounds",
        low=8,
        high=65536,
        advanced=True,
    )
    # What is rewarded
    score_scaling: str = option(
        "standardise",
        "so that the parent's completions average 0 (shift), with deviation 1 (standardise)",
        choices=("standardise", "shift", "none"),
        advanced=True,
    )
    score_clip: float = option(3.0, "scaled scores are held within this; 0 leaves them", low=0, high=1e6, advanced=True)
    length_neutral: bool = option(
        False, "take out of the score what length alone explains in the parent's completions", advanced=True
    )
    missing_eos_penalty: float = option(
        0.0, "taken from the scaled score of a completion that the limit cut off", low=0, high=1e6, advanced=True
    )
    kl_coef: float = option(
        0.15, "price of the KL from the parent in the reward, at first", low=0, high=1e6, advanced=True
    )
    kl_target: float = option(
        6.0, "nats per completion that the price is steered to; 0 keeps the price fixed", low=0, high=1e6, advanced=True
    )
    kl_horizon: float = option(
        160.0,
        "episodes over which the price follows (Ziegler: 10000, for runs of a million)",
        low=1,
        high=1e9,
        advanced=True,
    )
    kl_loss_coef: float = option(0.0, "weight of a k2 KL term in the loss itself", low=0, high=1e6, advanced=True)
    ptx_coef: float = option(
        0.0,
        "weight of the likelihood of the parent's own completions mixed into each update (PTX); start small",
        low=0,
        high=1e6,
        advanced=True,
    )
    reward_whitening: bool = option(False, "scale token rewards to unit variance, mean kept", advanced=True)
    # Advantages
    gamma: float = option(1.0, "discount", low=0, high=1, advanced=True)
    gae_lambda: float = option(0.95, "lambda of generalised advantage estimation", low=0, high=1, advanced=True)
    advantage_whitening: bool = option(True, "advantages to mean 0, variance 1 over the batch's tokens", advanced=True)
    # Updates
    epochs: int = option(4, "passes over each rollout batch", low=1, high=100, advanced=True)
    minibatches: int = option(2, "optimiser steps in each pass", low=1, high=4096, advanced=True)
    clip: float = option(0.2, "policy ratio's clip range", low=0.001, high=10, advanced=True)
    value_clip: float = option(0.2, "value's clip range; 0 for none", low=0, high=1e6, advanced=True)
    value_coef: float = option(0.1, "weight of the value loss", low=0, high=1e6, advanced=True)
    value_learning_rate: float = option(
        1e-3, "Adam's learning rate for the value head", low=1e-8, high=1, advanced=True
    )
    value_warm_up: bool = option(True, "fit the value head on the parent's completions first", advanced=True)
    max_approx_kl: float = option(
        0.1,
        "end the passes over a batch once the policy moved this far, in nats a token; 0 never",
        low=0,
        high=100,
        advanced=True,
    )
    max_grad_norm: float = option(1.0, "gradients are scaled down to this norm", low=1e-6, high=1e6, advanced=True)
    adam_eps: float = option(1e-5, "Adam's epsilon", low=1e-12, high=1, advanced=True)
    learning_rate_schedule: str = option(
        "linear", "linear falls to 0 at the last step", choices=("constant", "linear"), advanced=True
    )
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    # Bounds
    stop_kl: float = option(9.0, "end when the KL from the parent passes this, in nats; 0 never", low=0, high=1e6)
    min_length_ratio: float = option(
        0.5, "end when answers get shorter than this share of the parent's", low=0, high=0.99, advanced=True
    )
    max_length_ratio: float = option(
        2.0, "end when answers get longer than this multiple of the parent's", low=1.01, high=1e6, advanced=True
    )
    min_distinct_ratio: float = option(
        0.6,
        "end when the share of different answers falls below this share of the parent's",
        low=0,
        high=0.99,
        advanced=True,
    )
    # Records
    sample_prompts: int = option(
        4, "prompts whose completions are shown as training goes", low=0, high=64, advanced=True
    )
    samples_every: int = option(3, "steps between those", low=1, high=100000, advanced=True)
    checkpoint_every: int = option(1, "steps between checkpoints", low=1, high=100000, advanced=True)

    def cross_check(self) -> dict[str, str]:
        if self.minibatches > self.batch_size:
            return {
                "minibatches": f"must be at most batch_size, {self.batch_size}: a minibatch holds at least one episode."
            }
        return {}
