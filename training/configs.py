"""Hyperparameters of every recipe: one frozen dataclass per kind, checked before a run is queued.

Forms, the API and recipes share these. A field's metadata holds its help text, bounds and choices, so that
an error can name the field and say what would be right. Knows neither Django nor torch.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass, field
from typing import Any, ClassVar


class ConfigError(ValueError):
    """`errors` maps a field's name to what is wrong with it and what would be right."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    advanced: bool = False,
) -> Any:
    """A hyperparameter with what a form needs to show it and a check needs to refuse it."""
    metadata = {"help": help, "low": low, "high": high, "choices": choices, "advanced": advanced}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class SampleConfig:
    """Sample completions in bulk from a policy model."""

    kind: ClassVar[str] = "sample"
    completions_per_prompt: int = option(4, "completions for each prompt", low=1, high=64)
    max_new_tokens: int = option(64, "longest completion, in tokens", low=1, high=4096)
    temperature: float = option(1.0, "1 samples from the model as it is, 0 takes the likeliest token", low=0, high=5)
    top_p: float = option(1.0, "nucleus: 1 keeps every token", low=0.01, high=1)
    batch_size: int = option(32, "sequences sampled at once", low=1, high=1024, advanced=True)


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


@dataclass(frozen=True)
class RewardConfig:
    """One scalar reward head learnt from thumbs, stars and pairs together."""

    kind: ClassVar[str] = "reward"
    method: str = option(
        "auto",
        "head: trunk frozen; finetune: LoRA or full; auto: by the number of judgements",
        choices=("auto", "head", "finetune"),
    )
    adapters: str = option("lora", "what finetuning trains", choices=("lora", "full"), advanced=True)
    held_out: float = option(0.15, "share of prompts kept back to measure accuracy", low=0.05, high=0.5)
    max_prompt_tokens: int = option(256, "prompts keep their last tokens", low=8, high=131072, advanced=True)
    max_completion_tokens: int = option(256, "completions keep their first tokens", low=1, high=131072, advanced=True)
    batch_size: int = option(32, "sequences forwarded at once", low=1, high=4096, advanced=True)
    learning_rate: float = option(1e-4, "finetune: peak learning rate", low=1e-8, high=1, advanced=True)
    epochs: float = option(1.0, "finetune: passes over the data", low=0.01, high=100, advanced=True)
    lora_rank: int = option(16, "finetune: rank of the LoRA adapters", low=1, high=1024, advanced=True)
    checkpoint_every: int = option(
        20, "finetune: optimiser steps between checkpoints", low=1, high=100000, advanced=True
    )
    finetune_from: int = option(
        2000,
        "auto: with this many judgements finetuning is tried too, and kept if better by more than a standard error",
        low=0,
        high=10**9,
        advanced=True,
    )


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


@dataclass(frozen=True)
class EvaluateConfig:
    """Perplexity of answers on the eval side."""

    kind: ClassVar[str] = "evaluate"
    texts: str = option(
        "preferred",
        "preferred: the answers that judges liked best; first: answers of the model's first ancestor, to see how far "
        "it has moved from them",
        choices=("preferred", "first"),
    )
    limit: int = option(200, "how many answers at most, the same ones for every model", low=2, high=100000)
    max_length: int = option(1024, "tokens seen at once, prompt included", low=16, high=131072, advanced=True)
    batch_size: int = option(8, "sequences forwarded at once", low=1, high=4096, advanced=True)


CONFIGS: dict[str, type] = {c.kind: c for c in (SampleConfig, SFTConfig, RewardConfig, PPOConfig, EvaluateConfig)}


def parse(kind: str, values: dict[str, Any]) -> Any:
    """A validated config of that kind. Raises ConfigError naming every bad field and its remedy."""
    if kind not in CONFIGS:
        raise ConfigError({"kind": f"{kind!r} is not a kind of run; use one of {', '.join(CONFIGS)}."})
    cls = CONFIGS[kind]
    fields = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    errors, checked = {}, {}
    for name, value in values.items():
        if name not in fields:
            errors[name] = f"is not an option of {kind}; the options are {', '.join(fields)}."
            continue
        try:
            checked[name] = _check(value, hints[name], fields[name].metadata)
        except ValueError as error:
            errors[name] = str(error)
    if not errors:
        config = cls(**checked)
        errors = config.cross_check() if hasattr(config, "cross_check") else {}
    if errors:
        raise ConfigError(errors)
    return config


def _check(value: Any, hint: Any, metadata: typing.Mapping[str, Any]) -> Any:
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in allowed:
        return None
    wanted = next(t for t in allowed if t is not type(None))
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, wanted) or (wanted is not bool and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ValueError(f"must be {names[wanted]}, not {value!r}.")
    if metadata.get("choices") and value not in metadata["choices"]:
        raise ValueError(f"must be one of {', '.join(metadata['choices'])}, not {value!r}.")
    low, high = metadata.get("low"), metadata.get("high")
    if isinstance(value, float) and value != value:
        raise ValueError("must be a number, not NaN.")
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"must be between {low:g} and {high:g}, not {value!r}.")
    return value
