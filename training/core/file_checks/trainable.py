"""Say from a model's config.json alone which recipes can train it, and how. Knows no torch: orders are checked by it.

    logits    SFT, domain finetuning and PPO compute them from last states and output layer: a bias (Phi's) or a cap
              (Gemma 2's) would be left out
    adapters  are put on linear layers, and GPT-2 has others
    top       PPO's runs the model in two parts: layers like Llama's, which attend to all that came before
    length    a domain's rows have as many tokens as the model has positions at most

Recipes try the model itself when they start (`logits_are_products`, `cut_agrees`); a test compares. A model whose
config is not on this machine, or of a type that the table does not know, is left to the recipe.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from training.core.adapter_base import find_base, is_adapter

Config = Mapping[str, Any]
Errors = dict[str, str]

OTHER_RECIPES = "Use DPO, KTO, GRPO or RLOO, which know such models, or another parent."
_WITH_OUTPUT_BIAS = ("phi", "gptj", "codegen", "ctrl")
_WITHOUT_LINEAR_LAYERS = ("gpt2", "openai-gpt")
_UNLIKE_LLAMA = (
    *("gpt2", "openai-gpt", "gpt_neo", "gpt_neox", "gptj", "gpt_bigcode", "opt", "bloom", "falcon", "mpt", "codegen"),
    *("ctrl", "phi", "xglm", "biogpt", "persimmon", "lfm2"),
)


def config_of_folder(folder: Path | None) -> Config | None:
    """Return config.json of a model, of an adapter's base; None where it is not on this machine.

    Raises OSError or ValueError for files that cannot be read."""
    base = find_base(folder) if folder and is_adapter(folder) else folder
    if not base or not (base / "config.json").is_file():
        return None
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    return config if isinstance(config, dict) else None


def text_config(config: Config) -> Config:
    """Return what a config says of the text model alone, where the model reads pictures, too."""
    return config.get("text_config") or config


def has_plain_logits(config: Config) -> bool:
    """Return whether the logits are products of last states and output layer, and nothing more."""
    kind = config.get("model_type", "")
    has_cap = config.get("final_logit_softcapping") or config.get("logits_soft_cap")
    return not (kind in _WITH_OUTPUT_BIAS or has_cap or config.get("lm_head_bias"))


def has_linear_layers(config: Config) -> bool:
    return config.get("model_type", "") not in _WITHOUT_LINEAR_LAYERS


def can_be_cut(config: Config) -> bool:
    """Return whether the model may be run in two parts, without a mask: see `training.rl.trunk.cut_agrees`."""
    kind = config.get("model_type", "")
    has_window = config.get("sliding_window") and config.get("use_sliding_window", not kind.startswith("qwen"))
    attends_to_all = all(layer == "full_attention" for layer in config.get("layer_types") or [])
    return kind not in _UNLIKE_LLAMA and not has_window and attends_to_all


def training_errors(kind: str, config: Config, options: Any) -> Errors:
    """Return why a run of this kind could not train the model of this config, by field of the order."""
    errors: Errors = {}
    for check in _CHECKS.get(kind, ()):
        errors |= check(text_config(config), options)
    return errors


def _logits(config: Config, options: Any) -> Errors:
    if has_plain_logits(config):
        return {}
    return {
        "parent": f"It is a {_type(config)}: its logits have a bias or a cap, which is left out here. {OTHER_RECIPES}"
    }


def _adapters(config: Config, options: Any) -> Errors:
    if options.adapters not in ("lora", "top", "qlora") or has_linear_layers(config):
        return {}
    return {"config.adapters": f"The model is a {_type(config)}, which has no linear layers for adapters; choose full."}


def _top(config: Config, options: Any) -> Errors:
    if options.adapters != "top" or can_be_cut(config):
        return {}
    return {
        "config.adapters": f"The model is a {_type(config)}: top needs layers like Llama's that attend to all tokens "
        "before them; choose lora."
    }


def _finetuned(config: Config, options: Any) -> Errors:
    return {} if options.method == "head" else _adapters(config, options)


def _length(config: Config, options: Any) -> Errors:
    positions = config.get("max_position_embeddings")
    if not isinstance(positions, int) or options.context_length <= positions:
        return {}
    return {"config.context_length": f"The model has {positions} positions; choose at most {positions}."}


def _type(config: Config) -> str:
    return str(config.get("model_type", "model"))


_CHECKS: dict[str, tuple[Callable[[Config, Any], Errors], ...]] = {
    "sft": (_logits, _adapters),
    "domain": (_logits, _adapters, _length),
    "ppo": (_logits, _top, _adapters),
    "dpo": (_adapters,),
    "kto": (_adapters,),
    "grpo": (_adapters,),
    "rloo": (_adapters,),
    "reward": (_finetuned,),
    "classify": (_adapters,),
}
