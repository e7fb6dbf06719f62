"""The config of a run: what was chosen for it first, then the defaults, and in what it differs from its relatives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from training import configs
from training.models import Run
from training.runs.figures import differences


@dataclass(frozen=True)
class Option:
    name: str
    value: Any
    help: str
    is_default: bool
    default: Any = None


def context(run: Run) -> dict[str, Any]:
    all_options = options(run)
    return {
        "chosen_options": [option for option in all_options if not option.is_default],
        "default_options": [option for option in all_options if option.is_default],
        "differences": differences.of_run(run),
    }


def options(run: Run) -> list[Option]:
    """Return the config with the help of its fields."""
    config_class = configs.CONFIGS.get(run.kind)
    fields_by_name = {f.name: f for f in fields(config_class)} if config_class else {}
    return [
        Option(
            name,
            value,
            fields_by_name[name].metadata.get("help", "") if name in fields_by_name else "",
            name in fields_by_name and fields_by_name[name].default == value,
            fields_by_name[name].default if name in fields_by_name else None,
        )
        for name, value in configs.current_names(run.kind, run.config).items()
    ]
