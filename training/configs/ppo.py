from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from training.configs.options import (
    RateByAdapters,
    check_processes,
    kept_checkpoints_option,
    learning_rate_option,
    option,
)
from training.configs.rewards.part_lines import check_rewards, rewards_option
from training.configs.rollout_options import RolloutOptions

# The most trusted default of each detail in the literature (Schulman 2017; Ziegler 2019; Ouyang 2022; Huang 2024),
# where Assay's own differs. Assay's are for runs of some hundred episodes on answers that a length limit often cuts
# off; the literature's for runs of a hundred thousand and more. docs/guides/ppo.md says why for each, with figures.
TABLE: dict[str, Any] = {
    "score_scaling": "shift",
    "score_clip": 10.0,
    "missing_eos_penalty": 1.0,
    "kl_coef": 0.05,
    "kl_target": 0.0,
    "kl_horizon": 10000.0,
    "fluency_coef": 0.0,
    "epochs": 4,
    "minibatches": 1,
}

# Nats a token, for options that are left empty. KL adds up over the tokens of an answer: 6 nats are much for answers of
# 16 tokens and little for answers of 512.
KL_TARGET_PER_TOKEN = 0.1
STOP_KL_PER_TOKEN = 0.15


@dataclass(frozen=True)
class PPOConfig(RateByAdapters, RolloutOptions):
    """Proximal policy optimisation against a reward model or a Python function."""

    kind: ClassVar[str] = "ppo"
    # `preset` in what is given to configs.parse takes these first; what is named beside it wins.
    presets: ClassVar[dict[str, dict[str, Any]]] = {"assay": {}, "table": TABLE}
    # What a person may change when a paused run goes on: bounds, coefficients, learning rate; nothing that a checkpoint
    # rests on.
    amendable: ClassVar[tuple[str, ...]] = (
        *(
            "max_gold_gap",
            "stop_kl",
            "min_length_ratio",
            "max_length_ratio",
            "min_distinct_ratio",
            "min_eos_ratio",
            "at_bound",
        ),
        *("max_surprise_rise", "max_entropy_rise", "min_entropy_ratio", "max_foreign_share", "fluency_coef"),
        *("kl_coef", "kl_target", "kl_horizon", "learning_rate", "missing_eos_penalty"),
        *("review_every", "review_samples", "review_agreement", "review_waits", "review_by"),
    )
    reward_function: str = option("", "a function that the operator lists, instead of a reward model")
    rewards: str = rewards_option()
    trust_unproven_reward: bool = option(
        False, "allow a reward model whose held-out accuracy is not better than chance"
    )
    steps: int = option(12, "rollout batches", low=1, high=100000)
    batch_size: int = option(32, "episodes in one rollout batch", low=2, high=65536)
    max_new_tokens: int = option(64, "longest completion, in tokens", low=1, high=4096)
    rates: ClassVar[dict[str, float]] = {"adapters": 5e-4, "full": 5e-5}
    learning_rate: float | None = learning_rate_option("Adam's learning rate", **rates)
    adapters: str = option(
        "top",
        "top: LoRA in the top third over a shared trunk; lora: on all layers; full: every weight",
        choices=("top", "lora", "full"),
    )
    # What is sampled
    temperature: float = option(1.0, "divides the logits in rollouts and in logprobs", low=0.05, high=5, advanced=True)
    top_p: float = option(
        1.0,
        "nucleus of the rollouts; 1 keeps all tokens. A smaller value samples from another distribution than the one "
        "in the ratio, and biases the ratio",
        low=0.01,
        high=1,
        advanced=True,
    )
    top_k: int = option(
        0,
        "rollouts sample from this many most likely tokens; 0: all tokens; see top_p",
        low=0,
        high=10**6,
        advanced=True,
    )
    stop_token: str = option(
        "",
        "an additional end token; it counts as an end for missing_eos_penalty",
        advanced=True,
    )
    held_out_prompts: int = option(
        16,
        "held-out prompts, at most a tenth of all; the policy is scored on them with each sample",
        low=0,
        high=1024,
        advanced=True,
    )
    max_prompt_tokens: int = option(256, "longer prompts keep their last tokens", low=8, high=131072, advanced=True)
    calibration_episodes: int = option(
        128,
        "completions of the parent, which set the score scale, the value function and the limits",
        low=8,
        high=65536,
        advanced=True,
    )
    # What is rewarded
    score_scaling: str = option(
        "standardise",
        "shift: the parent's mean becomes 0; standardise: also deviation 1, so that one kl_coef and one "
        "clip fit all reward models (the literature uses shift)",
        choices=("standardise", "shift", "none"),
        advanced=True,
    )
    score_clip: float = option(
        3.0,
        "scaled scores are clipped to this; 0: no clipping. 3 deviations (the literature clips raw scores at 10): "
        "beyond them a reward model extrapolates",
        low=0,
        high=1e6,
        advanced=True,
    )
    length_neutral: bool = option(
        False, "remove the effect of length from the score, as estimated on the parent's completions", advanced=True
    )
    missing_eos_penalty: float = option(
        0.0,
        "subtracted from the scaled score of an answer without an end token; their rate is always logged. 0 because "
        "at 64 tokens most answers are cut off, and a penalty on most of them only teaches brevity; use 1 if "
        "max_new_tokens allows complete answers",
        low=0,
        high=1e6,
        advanced=True,
    )
    kl_coef: float = option(
        0.1,
        "initial weight of the KL penalty; higher stays closer to the parent. The literature's 0.05 is for scores "
        "that are not standardised",
        low=0,
        high=1e6,
        advanced=True,
    )
    kl_target: float | None = option(
        None,
        "target KL in nats per answer: kl_coef is fixed until KL first reaches it, and lowered if KL stays below in "
        f"the second half of the schedule; empty: {KL_TARGET_PER_TOKEN:g} for each token of the parent's mean answer; "
        "0 keeps kl_coef fixed",
        low=0,
        high=1e6,
        advanced=True,
    )
    kl_horizon: float = option(
        64.0,
        "episodes over which kl_coef adapts; its error is clipped to 0.2 and a step to a factor of 1.5. Ziegler's "
        "10000 is for a million episodes; in 400 episodes kl_coef would change by less than 1 %",
        low=1,
        high=1e9,
        advanced=True,
    )
    fluency_coef: float = option(
        0.05,
        "weight of a penalty on tokens that surprise the parent, while the answers surprise it more than its own "
        "answers do: this weight at 0.1 nats per token above, at most three times; 0: none",
        low=0,
        high=1e6,
        advanced=True,
    )
    kl_loss_coef: float = option(0.0, "weight of a KL term in the loss itself", low=0, high=1e6, advanced=True)
    kl_loss_estimator: str = option(
        "k2",
        "k2 has the right gradient as a loss, k3 is GRPO's; in the reward it is always k1",
        choices=("k2", "k3"),
        advanced=True,
    )
    ptx_coef: float = option(
        0.0,
        "weight of the likelihood of the second dataset (by default: the parent's completions) in "
        "each update (PTX), against forgetting; start at 0.01 to 0.1. Its held-out loss is also measured at 0",
        low=0,
        high=1e6,
        advanced=True,
    )
    ptx_batch_size: int = option(
        8, "sequences of the second dataset in each optimiser step", low=1, high=4096, advanced=True
    )
    ptx_max_tokens: int = option(
        128, "longest text of the second dataset; longer texts are split", low=8, high=131072, advanced=True
    )
    reward_whitening: bool = option(False, "scale token rewards to unit variance and keep the mean", advanced=True)
    # Advantages
    gamma: float = option(1.0, "discount", low=0, high=1, advanced=True)
    gae_lambda: float = option(0.95, "lambda of generalised advantage estimation", low=0, high=1, advanced=True)
    advantage_whitening: bool = option(
        True, "scale advantages to mean 0 and variance 1 over the batch's tokens", advanced=True
    )
    # Updates
    epochs: int = option(2, "passes over each rollout batch", low=1, high=100, advanced=True)
    minibatches: int = option(
        4, "optimiser steps in each pass; at most one for each answer", low=1, high=4096, advanced=True
    )
    loss_mean: str = option(
        "batch",
        "batch: over the valid tokens of the whole batch, so that tokens have equal weight; minibatch: of each "
        "minibatch",
        choices=("batch", "minibatch"),
        advanced=True,
    )
    clip: float = option(0.2, "clip range of the policy ratio", low=0.001, high=10, advanced=True)
    value_clip: float = option(0.2, "clip range of the value; 0: none", low=0, high=1e6, advanced=True)
    value_coef: float = option(0.1, "weight of the value loss", low=0, high=1e6, advanced=True)
    value_learning_rate: float = option(
        1e-3, "Adam's learning rate for the value head", low=1e-8, high=1, advanced=True
    )
    value_init: str = option(
        "new",
        "new: a fresh head on the reference's states; reward: the reward model's head on the answer so far",
        choices=("new", "reward"),
        advanced=True,
    )
    value_warm_up: bool = option(True, "fit a new value head on the parent's completions first", advanced=True)
    max_approx_kl: float = option(
        0.05,
        "end the passes over a batch when the KL reaches this, in nats per token; 0: never. About twice the value of a "
        "run at the default learning rate, so it matters when the rate is too high",
        low=0,
        high=100,
        advanced=True,
    )
    max_grad_norm: float = option(1.0, "gradients are clipped to this norm", low=1e-6, high=1e6, advanced=True)
    adam_eps: float = option(1e-5, "Adam's epsilon", low=1e-12, high=1, advanced=True)
    learning_rate_schedule: str = option(
        "linear", "linear falls to 0 at the last step", choices=("constant", "linear"), advanced=True
    )
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    # Bounds
    at_bound: str = option(
        "pause",
        "pause: wait for a person, who continues, goes back or finishes; finish: end and keep the last "
        "model within the limits, for runs that nobody watches",
        choices=("pause", "finish"),
    )
    stop_kl: float | None = option(
        None,
        f"limit of the KL from the parent, in nats per answer; empty: {STOP_KL_PER_TOKEN:g} for each token of the "
        "parent's mean answer; 0: none",
        low=0,
        high=1e6,
    )
    min_length_ratio: float = option(
        0.5, "limit: answers shorter than this share of the parent's", low=0, high=0.99, advanced=True
    )
    max_length_ratio: float = option(
        2.0, "limit: answers longer than this multiple of the parent's", low=1.01, high=1e6, advanced=True
    )
    min_distinct_ratio: float = option(
        0.6,
        "limit: the share of different answers or word pairs is below this share of the parent's",
        low=0,
        high=0.99,
        advanced=True,
    )
    min_eos_ratio: float = option(
        0.5,
        "limit: the share of complete answers (not cut by max_new_tokens) is below this share of the parent's; 0: none",
        low=0,
        high=0.99,
        advanced=True,
    )
    max_surprise_rise: float = option(
        0.2,
        "limit: the answers surprise the parent (mean -log p of their tokens) by this many nats per token more than "
        "its own answers do; 0: none",
        low=0,
        high=100,
        advanced=True,
    )
    max_entropy_rise: float = option(
        0.3, "limit: entropy above the parent's, in nats per token; 0: none", low=0, high=100, advanced=True
    )
    min_entropy_ratio: float = option(
        0.4, "limit: entropy below this share of the parent's; 0: none", low=0, high=0.99, advanced=True
    )
    max_foreign_share: float = option(
        0.05,
        "limit: share of characters that are emoji or in scripts that the parent does not use; 0: none",
        low=0,
        high=1,
        advanced=True,
    )
    max_gold_gap: float = option(
        0.5,
        "limit: the reward model's second head, trained on other annotations, is this far below the value that the "
        "score predicts, in the parent's standard deviations, by the whole 95 % interval; 0: none",
        low=0,
        high=100,
        advanced=True,
    )
    # The human review
    review_every: int = option(
        4,
        "steps between reviews, in which annotators compare answers with the parent's without names; 0: never",
        low=0,
        high=100000,
    )
    review_samples: int = option(4, "prompts in one review", low=1, high=64, advanced=True)
    review_agreement: float = option(
        0.5,
        "pause when people agree with the reward model in less than this share of pairs, by the whole "
        "95 % interval over the last three reviews; 0: never",
        low=0,
        high=1,
        advanced=True,
    )
    review_waits: bool = option(
        False, "pause at each review until all its pairs are annotated, then continue automatically", advanced=True
    )
    review_by: str = option(
        "person",
        "whose annotations pause the run; the page always shows both separately",
        choices=("person", "simulation"),
        advanced=True,
    )
    # Records
    sample_prompts: int = option(4, "prompts with sample completions during training", low=0, high=64, advanced=True)
    samples_every: int = option(3, "steps between samples", low=1, high=100000, advanced=True)
    checkpoint_every: int = option(1, "steps between checkpoints", low=1, high=100000, advanced=True)
    kept_checkpoints: int = kept_checkpoints_option()

    @property
    def steps_a_pass(self) -> int:
        return min(self.minibatches, self.batch_size)

    def kl_target_of(self, length: float) -> float:
        """Return the target in nats an answer, for a parent whose answers are so many tokens long; 0 for none."""
        return KL_TARGET_PER_TOKEN * length if self.kl_target is None else self.kl_target

    def stop_kl_of(self, length: float) -> float:
        """Return the bound in nats an answer, for a parent whose answers are so many tokens long; 0 for none."""
        return STOP_KL_PER_TOKEN * length if self.stop_kl is None else self.stop_kl

    def cross_check(self) -> dict[str, str]:
        errors = {}
        if self.actors > self.batch_size:
            errors["actors"] = f"must be at most batch_size, {self.batch_size}: each draws one answer or more."
        if self.value_init == "reward" and (self.reward_function or self.rewards):
            errors["value_init"] = "reward needs a reward model alone, for a sum or a function has no head: use new."
        return (
            errors
            | check_rewards(self)
            | self.check_rollouts()
            | check_processes(self, batch_size=self.batch_size, rows="answers")
        )
