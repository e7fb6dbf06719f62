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
    help: str,  # noqa: A002 - the word that argparse and Django use
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
    adapters: str = option("lora", "what is trained", choices=("lora", "full"))
    lora_rank: int = option(16, "rank of the LoRA adapters", low=1, high=1024, advanced=True)
    warmup_ratio: float = option(0.1, "share of the steps that warm the rate up", low=0, high=1, advanced=True)
    checkpoint_every: int = option(20, "optimiser steps between checkpoints", low=1, high=100000, advanced=True)


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


CONFIGS: dict[str, type] = {c.kind: c for c in (SampleConfig, SFTConfig, RewardConfig, PPOConfig)}


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
