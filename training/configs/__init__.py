"""Hyperparameters of every recipe: one frozen dataclass per kind, checked before a run is queued.

Forms, the API and recipes share these. A field's metadata holds its help text, bounds and choices, so that
an error can name the field and say what would be right. Knows neither Django nor torch.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from training.configs.best_of import BestOfConfig, RejectionConfig
from training.configs.classify import ClassifyConfig, LabelConfig
from training.configs.corpus import CorpusConfig
from training.configs.evaluate import EvaluateConfig, VerdictsConfig
from training.configs.export import ExportConfig
from training.configs.forms.starting_points import values_by_name
from training.configs.group import GRPOConfig, RLOOConfig
from training.configs.imported import ImportConfig
from training.configs.old_names import current_names
from training.configs.options import ConfigError, check, option, types_of
from training.configs.ppo import PPOConfig
from training.configs.preference import DPOConfig, KTOConfig
from training.configs.pretrain import DomainConfig, PretrainConfig, TokenizerConfig
from training.configs.reward import RewardConfig
from training.configs.sampling import SampleConfig
from training.configs.sft import SFTConfig
from training.configs.surprise import SurpriseConfig

__all__ = [
    "CONFIGS",
    "BestOfConfig",
    "ClassifyConfig",
    "ConfigError",
    "CorpusConfig",
    "DPOConfig",
    "DomainConfig",
    "EvaluateConfig",
    "ExportConfig",
    "GRPOConfig",
    "ImportConfig",
    "KTOConfig",
    "LabelConfig",
    "PPOConfig",
    "PretrainConfig",
    "RLOOConfig",
    "RejectionConfig",
    "RewardConfig",
    "SFTConfig",
    "SampleConfig",
    "SurpriseConfig",
    "TokenizerConfig",
    "VerdictsConfig",
    "as_ordered",
    "current_names",
    "option",
    "parse",
]

CONFIGS: dict[str, type] = {
    config.kind: config  # type: ignore[attr-defined]
    for config in (
        SampleConfig,
        CorpusConfig,
        TokenizerConfig,
        PretrainConfig,
        DomainConfig,
        ClassifyConfig,
        SFTConfig,
        RewardConfig,
        PPOConfig,
        DPOConfig,
        KTOConfig,
        GRPOConfig,
        RLOOConfig,
        BestOfConfig,
        RejectionConfig,
        EvaluateConfig,
        SurpriseConfig,
        ImportConfig,
        ExportConfig,
        LabelConfig,
        VerdictsConfig,
    )
}


def parse(kind: str, values: dict[str, Any]) -> Any:
    """Return a validated config of that kind. Raises ConfigError naming every bad field and its remedy."""
    if kind not in CONFIGS:
        raise ConfigError({"kind": f"{kind!r} is not a kind of run; use one of {', '.join(CONFIGS)}."})
    cls = CONFIGS[kind]
    values = _with_preset(cls, current_names(kind, values))
    fields = {f.name: f for f in dataclasses.fields(cls)}
    errors, checked = {}, {}
    for name, value in values.items():
        if name not in fields:
            errors[name] = _not_an_option(name, kind, list(fields))
            continue
        try:
            checked[name] = check(value, types_of(cls)[name], fields[name].metadata)
        except ConfigError as error:
            errors |= {f"{name}{part}": text for part, text in error.errors.items()}
        except ValueError as error:
            errors[name] = str(error)
    if not errors:
        config = _filled(cls(**checked))
        errors = config.cross_check() if hasattr(config, "cross_check") else {}
    if errors:
        raise ConfigError(errors)
    return config


def _not_an_option(name: str, kind: str, options: list[str]) -> str:
    """Return what is wrong with an option that a kind does not have, and what would be right."""
    if name in ("processes", "sharding", "nodes"):
        kinds = [other for other, cls in CONFIGS.items() if any(f.name == name for f in dataclasses.fields(cls))]
        return f"is not an option of {kind}, which learns in one process: leave it out. {', '.join(kinds)} have it."
    return f"is not an option of {kind}; the options are {', '.join(options)}."


def is_valid(kind: str, values: dict[str, Any]) -> bool:
    """Return whether `parse` takes these values."""
    try:
        parse(kind, values)
    except ConfigError:
        return False
    return True


def parse_valid(kind: str, values: dict[str, Any]) -> Any:
    """Return a config for values that may be wrong: those count as they are by default."""
    try:
        return parse(kind, values)
    except ConfigError as error:
        wrong = {name.partition("[")[0] for name in error.errors}
        others = {name: value for name, value in values.items() if name not in wrong}
        return CONFIGS[kind](**_with_preset(CONFIGS[kind], others))


def as_ordered(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return a run's config as it was ordered: an option that holds what follows from the others is left empty again.

    Else a new run that changes `adapters` would keep the learning rate of the old ones.
    """
    try:
        derived = _derived(parse(kind, values))
    except ConfigError:
        return values
    return {name: None if name in derived and value == derived[name] else value for name, value in values.items()}


def _filled(config: Any) -> Any:
    """Fill what was left empty and follows from other options: the run keeps the number it went by."""
    derived = {name: value for name, value in _derived(config).items() if getattr(config, name) is None}
    return dataclasses.replace(config, **derived)


def _derived(config: Any) -> dict[str, Any]:
    """Return what options are when they are left empty, for a kind that says so."""
    return config.derived() if hasattr(config, "derived") else {}


def _with_preset(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Fill in the preset. `preset` names a set of values to begin with; what is given beside it wins. The config itself
    keeps no name."""
    presets = values_by_name(cls)
    if not presets or "preset" not in values:
        return values
    other_values = {name: value for name, value in values.items() if name != "preset"}
    if not isinstance(values["preset"], str) or values["preset"] not in presets:
        raise ConfigError({"preset": f"must be one of {', '.join(presets)}, not {values['preset']!r}."})
    return {**presets[values["preset"]], **other_values}
