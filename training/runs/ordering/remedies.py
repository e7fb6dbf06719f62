"""Turn the remedy of a failure into options to change, where possible: what one click on the failed run's page does.

Pure. A recipe that knows better says so itself (`RecipeFailure.remedy_changes`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeGuard

from training import configs

Changes = dict[str, Any]

# What holds memory, in the order in which giving it up costs least: micro-batches change no number of the result,
# smaller batches and shorter texts do, adapters train another set of weights.
_HALVED = ("micro_batch_size", "batch_size", "max_length", "sequence_length", "context_length", "max_new_tokens")
_HALVED_LAST = ("max_prompt_tokens", "max_completion_tokens")
_SLOWER = 3  # a learning rate that diverges is seldom too high by less


def changes_for(code: str, kind: str, config: dict[str, Any]) -> Changes:
    """Return the options that a new run of this kind should have instead; empty when no option is the remedy."""
    candidates = {"out_of_memory": _lighter, "not_finite": _gentler}.get(code)
    if candidates is None or kind not in configs.CONFIGS:
        return {}
    return next((changes for changes in candidates(kind, config) if configs.is_valid(kind, {**config, **changes})), {})


def describe_changes(changes: Changes) -> str:
    """Return `batch_size 4 and max_length 256`, for the label of a button."""
    return " and ".join(f"{name} {value}" for name, value in changes.items())


def _lighter(kind: str, config: dict[str, Any]) -> Iterator[Changes]:
    # What costs time alone comes first: more passes for one step, activations computed twice.
    if "micro_batch_size" in config and not config["micro_batch_size"] and _is_whole(rows := config.get("batch_size")):
        yield {"micro_batch_size": max(1, rows // 8)}
    if "activation_checkpointing" in config and config["activation_checkpointing"] != "on":
        yield {"activation_checkpointing": "on"}
    for name in (*_HALVED, *_HALVED_LAST):
        if _is_whole(value := config.get(name)) and value > 1:
            yield {name: value // 2}
    if config.get("adapters") == "full":
        yield {"adapters": "lora"}


def _gentler(kind: str, config: dict[str, Any]) -> Iterator[Changes]:
    if (rate := _rate(kind, config)) is not None:
        yield {"learning_rate": float(f"{rate / _SLOWER:.2g}")}


def _rate(kind: str, config: dict[str, Any]) -> float | None:
    """Return the learning rate that was used: where none was chosen, the one that the config derives."""
    chosen = config.get("learning_rate")
    if chosen is None and "learning_rate" in config and configs.is_valid(kind, config):
        parsed = configs.parse(kind, config)
        chosen = getattr(parsed, "rate", None) or getattr(parsed, "peak_rate", None)
    return chosen if isinstance(chosen, float) and chosen > 0 else None


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
