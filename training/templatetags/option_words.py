"""Options of a run in words, and the terms that a kind of run and an option need, for templates."""

from __future__ import annotations

import re
from dataclasses import fields

from django import template

from training import configs

register = template.Library()
_DIRTY = "-dirty"  # ends what `git describe` says of a checkout with changes

# Keys of the glossary. What a reader of a kind's form and results meets first:
KIND_TERMS: dict[str, tuple[str, ...]] = {
    "sample": ("temperature", "top-p", "token"),
    "tokenizer": ("token",),
    "pretrain": ("token", "perplexity", "held-out"),
    "domain": ("perplexity", "held-out", "adapter"),
    "classify": ("accuracy", "held-out", "calibration"),
    "sft": ("sft", "held-out", "perplexity"),
    "reward": ("reward-model", "reward-accuracy", "calibration", "held-out", "cross-validation"),
    "ppo": ("ppo", "reward", "score", "kl", "entropy", "surprise", "over-optimisation"),
    "dpo": ("dpo", "beta", "held-out"),
    "kto": ("kto", "beta", "held-out"),
    "grpo": ("grpo", "score", "kl", "beta"),
    "rloo": ("rloo", "score", "kl", "beta"),
    "best_of": ("score", "kl", "temperature"),
    "rejection": ("score", "sft", "temperature"),
    "evaluate": ("interval", "contamination"),
    "fluency": ("surprise", "entropy", "kl", "score"),  # a measure, beside those of its kind
}
# The term behind an option of any kind:
OPTION_TERMS = {
    **{"kl_coef": "kl-coefficient", "kl_target": "kl", "stop_kl": "kl", "beta": "beta", "ptx_coef": "ptx"},
    **{"adapters": "adapter", "lora_rank": "lora", "learning_rate": "learning-rate", "checkpoint_every": "checkpoint"},
    **{"temperature": "temperature", "top_p": "top-p", "max_new_tokens": "token", "contamination": "contamination"},
    **{"held_out": "held-out", "held_out_share": "held-out", "advantage_whitening": "advantage"},
    **{"max_entropy_rise": "entropy", "max_surprise_rise": "surprise", "max_gold_gap": "over-optimisation"},
}


@register.filter
def option_words(name: str, kind: str) -> str:
    """Say an option in words by the beginning of its help: `stop_kl` -> `bound on the KL from the parent, in nats an
    answer`."""
    fields_by_name = {f.name: f for f in fields(configs.CONFIGS[kind])} if kind in configs.CONFIGS else {}
    text = str(fields_by_name[name].metadata.get("help", "")) if name in fields_by_name else ""
    return re.split("[;.] ", text.removeprefix("bound: "))[0] or name.replace("_", " ")


@register.filter
def kind_terms(kind: str) -> tuple[str, ...]:
    return KIND_TERMS.get(kind, ())


@register.filter
def tracker_name(tracker: str) -> str:
    return {"tensorboard": "TensorBoard", "wandb": "W&B", "mlflow": "MLflow"}.get(tracker, tracker)


@register.filter
def committed(version: str) -> str:
    """Return what names the code of a run, without git's mark of changes."""
    return version.removesuffix(_DIRTY)


@register.filter
def has_uncommitted(version: str) -> bool:
    return version.endswith(_DIRTY)


@register.filter
def counted(name: str, count: float) -> str:
    """Return the name of what is counted, for one or for many: (annotators, 1) -> annotator"""
    return name.removesuffix("s") if count == 1 else name


@register.filter
def option_term(name: str) -> str:
    return OPTION_TERMS.get(name, "")
