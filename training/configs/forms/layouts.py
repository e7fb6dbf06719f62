"""Arrange the fields of a run's form: which six are shown at first, and under which heading the others stand.

A field is an option of the kind's config or one of ROWS: what
an order names beside its config. Pure.
"""

from __future__ import annotations

import dataclasses
from typing import Any

ROWS = ("parent", "dataset", "other_dataset", "reward_model", "name", "seed")

_PREFERENCE = ("parent", "dataset", "beta", "epochs", "learning_rate", "name")
_GROUP = ("parent", "reward_model", "dataset", "steps", "group_size", "beta")
_BEST_OF = ("parent", "reward_model", "dataset", "candidates", "max_new_tokens", "name")
_FINETUNING = ("parent", "dataset", "adapters", "epochs", "learning_rate", "name")

FIRST: dict[str, tuple[str, ...]] = {
    "sample": ("parent", "dataset", "completions_per_prompt", "max_new_tokens", "temperature", "name"),
    "corpus": ("sources", "languages", "documents", "max_documents", "held_out", "name"),
    "tokenizer": ("dataset", "vocab_size", "digits", "name"),
    "pretrain": ("parent", "dataset", "size", "max_tokens", "context_length", "name"),
    "domain": _FINETUNING,
    "classify": _FINETUNING,
    "sft": _FINETUNING,
    "reward": ("parent", "dataset", "method", "features", "held_out", "name"),
    "ppo": ("parent", "reward_model", "dataset", "steps", "kl_coef", "max_new_tokens"),
    "dpo": _PREFERENCE,
    "kto": _PREFERENCE,
    "grpo": _GROUP,
    "best_of": _BEST_OF,
    "rejection": _BEST_OF,
    "rloo": _GROUP,
    "evaluate": (
        "measure",
        "parent",
        "opponent",
        "other_dataset",
        "suite",
        "judged_by",
        "reward_model",
        "judge",
        "limit",
    ),
    "surprise": ("parent", "dataset", "other_dataset", "passages", "compare", "name"),
    "import": ("source", "licence", "name"),
    "export": ("parent", "to", "precision", "adapter", "repository", "private"),
    "label": ("parent", "texts", "name"),
    "verdicts": ("judge", "items", "split", "limit", "name"),
}

# In the order in which they stand; within a group the order of the dataclass.
GROUPS: dict[str, tuple[str, ...]] = {
    "Run": ("parent", "dataset", "name", "seed"),
    "Data": (
        *("other_dataset", "held_out", "held_out_share", "max_length", "max_prompt_tokens", "max_completion_tokens"),
        *("labels", "balanced", "limit", "texts", "contamination", "replay_share", "train_mb", "min_frequency"),
        *("passage_bytes", "passages", "spoil", "compare", "swapped_letters", "ptx_batch_size", "ptx_max_tokens"),
    ),
    "Sources": ("sources", "text_field", "documents", "max_documents"),
    "Cleaning": (
        *("fix_unicode", "languages", "language_confidence", "c4_boilerplate", "c4_lines", "c4_code"),
        *("gopher_quality", "gopher_repetition", "min_words", "max_words", "word_length", "max_symbols"),
        *("max_bullets", "max_ellipses", "min_alphabetic", "min_small_words", "repeated_lines", "top_phrases"),
        "repeated_phrases",
    ),
    "Privacy and leakage": ("private_data", "phone_region", "evaluation_texts", "passage_words"),
    "Duplicates": ("exact_duplicates", "near_duplicates", "near_threshold", "near_words", "near_permutations"),
    "Model": (
        *("source", "licence", "size", "objective", "context_length", "method", "features", "adapters", "lora_rank"),
        *("pooling", "finetune_from", "vocab_size", "digits", "sentinels", "causal_probability", "mask_rate"),
        *("mask_style", "mean_span", "sequence_classifier"),
    ),
    "Answers": (
        *("candidates", "completions_per_prompt", "max_prompts", "steps", "group_size", "max_new_tokens"),
        *("temperature", "top_p", "top_k"),
        *("stop_token", "system_prompt", "held_out_prompts", "calibration_episodes", "num_fewshot", "suite"),
    ),
    "Endpoint": ("max_cost", "logprobs", "request_timeout"),
    "Judge": (
        *("opponent", "judged_by", "reward_model", "judge", "judge_url", "judge_model", "judge_key_variable"),
        *("judge_tokens", "judge_at_once", "judge_per_minute", "judge_timeout"),
        *("version", "items", "annotators", "split", "per_minute", "timeout"),
    ),
    "Reward": (
        *("rewards", "reward_function", "trust_unproven_reward", "score_scaling", "score_clip", "length_neutral"),
        *("missing_eos_penalty", "fluency_coef", "reward_whitening", "scale_rewards"),
    ),
    "KL": ("kl_coef", "kl_target", "kl_horizon", "kl_loss_coef", "kl_loss_estimator", "beta", "ptx_coef"),
    "Advantages and values": (
        *("gamma", "gae_lambda", "advantage_whitening", "normalise_advantages", "value_clip", "value_coef"),
        *("value_learning_rate", "value_init", "value_warm_up"),
    ),
    "Optimiser": (
        *("epochs", "max_tokens", "batch_size", "minibatches", "learning_rate", "loss", "loss_mean", "clip"),
        *("max_approx_kl", "label_smoothing", "balance", "keep", "schedule", "learning_rate_schedule"),
        *("warmup_ratio", "decay_ratio", "final_rate", "weight_decay", "beta2", "adam_eps", "max_grad_norm"),
    ),
    "Safety": (
        *("at_bound", "stop_kl", "min_length_ratio", "max_length_ratio", "min_distinct_ratio", "min_eos_ratio"),
        *("max_surprise_rise", "max_entropy_rise", "min_entropy_ratio", "max_foreign_share", "max_gold_gap"),
    ),
    "Human review": ("review_every", "review_samples", "review_agreement", "review_waits", "review_by"),
    "Machine": (
        *("processes", "nodes", "sharding", "actors", "rollout_server", "rollout_server_lost", "rollout_timeout"),
        *("staleness", "importance_cap"),
        *("micro_batch_size", "activation_checkpointing", "dtype"),
    ),
    "Files": ("to", "precision", "adapter", "repository", "private", "longest_document", "shard_mb"),
    "Measurements and checkpoints": (
        *("curve", "measure", "draws", "sample_prompts", "samples_every", "sample_every", "sample_tokens"),
        *("evaluate_every", "evaluate_limit", "validate_every", "validation_tokens", "checkpoint_every"),
        "kept_checkpoints",
    ),
}
OTHER = "Other"
_OF_KIND = {
    ("ppo", "batch_size"): "Answers",
    ("grpo", "batch_size"): "Answers",
    ("rloo", "batch_size"): "Answers",
    ("sample", "batch_size"): "Machine",
    ("best_of", "batch_size"): "Machine",
    ("rejection", "batch_size"): "Machine",
    ("reward", "batch_size"): "Machine",
    ("evaluate", "batch_size"): "Machine",
    ("surprise", "batch_size"): "Machine",
    ("verdicts", "limit"): "Judge",
    ("verdicts", "max_tokens"): "Judge",
}
_GROUP_OF = {name: group for group, names in GROUPS.items() for name in names}


METHODS = (("dpo", "kto"), ("grpo", "rloo"))  # kinds that share a form; the choice of method stands on top


def methods_beside(kind: str) -> tuple[str, ...]:
    """Return the kinds that share a form with this one, itself among them; () for one that stands alone."""
    return next((methods for methods in METHODS if kind in methods), ())


def first_fields(config_class: Any) -> tuple[str, ...]:
    """Return the fields to show at first: those of the kind, or of a kind with no layout all that are not advanced."""
    if (kind := getattr(config_class, "kind", "")) in FIRST:
        return FIRST[kind]
    plain = (field.name for field in dataclasses.fields(config_class) if not field.metadata.get("advanced"))
    return (*(name for name in ROWS if name != "seed"), *plain)


def group_of(kind: str, name: str) -> str:
    """Return the heading of a field that is not shown at first."""
    return _OF_KIND.get((kind, name)) or _GROUP_OF.get(name, OTHER)


def group_titles() -> tuple[str, ...]:
    return (*GROUPS, OTHER)
