"""Name sets of values that a form or a program begins with: the defaults, a quick try, the literature's. Pure.

`preset` in a config names one (`configs.parse`); what is named beside it wins. Default values are the dataclass's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StartingPoint:
    name: str
    title: str
    purpose: str
    values: dict[str, Any] = field(default_factory=dict)


_QUICK = "Quick try"
_MINUTES = "a few minutes, to check that everything works"

_QUICK_VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "sample": ("one short answer per prompt", {"completions_per_prompt": 1, "max_new_tokens": 32}),
    "tokenizer": ("a small vocabulary from a small text", {"vocab_size": 2048, "train_mb": 16}),
    "pretrain": ("the smallest model on 200,000 tokens", {"size": "1M", "max_tokens": 200_000, "context_length": 128}),
    "domain": (_MINUTES, {"max_tokens": 50_000, "context_length": 128, "adapters": "top"}),
    "classify": ("only the head, on frozen weights", {"adapters": "head"}),
    "sft": (_MINUTES, {"epochs": 0.25, "max_length": 128, "adapters": "top"}),
    "reward": ("only the head, no learning curve", {"method": "head", "curve": False}),
    "ppo": (
        "3 steps of 16 short answers, no human review",
        {"steps": 3, "batch_size": 16, "max_new_tokens": 24, "calibration_episodes": 32, "review_every": 0},
    ),
    "dpo": (_MINUTES, {"epochs": 0.25, "max_completion_tokens": 64, "adapters": "top"}),
    "kto": (_MINUTES, {"epochs": 0.25, "max_completion_tokens": 64, "adapters": "top"}),
    "grpo": ("4 steps of 16 short answers", {"steps": 4, "batch_size": 16, "max_new_tokens": 24}),
    "rloo": ("4 steps of 16 short answers", {"steps": 4, "batch_size": 16, "max_new_tokens": 24}),
    "corpus": ("500 documents of each source", {"max_documents": 500}),
    "surprise": ("20 passages", {"passages": 20}),
}
_LITERATURE = {
    "corpus": (
        StartingPoint("web", "Web pages", "all rules of C4 and Gopher", {"c4_lines": True, "c4_code": True}),
        StartingPoint("short", "Short texts", "messages, verse and notes", {"min_words": 3, "gopher_quality": False}),
    ),
}


def starting_points(config_class: Any) -> tuple[StartingPoint, ...]:
    """Return the sets of a kind, the defaults first; a kind without a quick try has none to choose from."""
    kind = getattr(config_class, "kind", "")
    if kind not in _QUICK_VALUES:
        return ()
    purpose, values = _QUICK_VALUES[kind]
    named = getattr(config_class, "presets", {})
    literature = (
        (StartingPoint("table", "From the literature", "Ziegler 2019, Ouyang 2022: long runs", dict(named["table"])),)
        if "table" in named
        else ()
    )
    quick = StartingPoint("quick", _QUICK, purpose, values)
    return (StartingPoint("default", "Default", "Assay's own values"), quick, *literature, *_LITERATURE.get(kind, ()))


def values_by_name(config_class: Any) -> dict[str, dict[str, Any]]:
    """Return what `preset` may name, with its values; {} where a kind has none."""
    named: dict[str, dict[str, Any]] = dict(getattr(config_class, "presets", {}))
    return named | {point.name: point.values for point in starting_points(config_class)}
