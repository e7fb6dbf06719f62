"""Options that were renamed: their old names answer for one version, in orders and in what runs have kept. Pure."""

from __future__ import annotations

from typing import Any

_RENAMED: dict[str, dict[str, str]] = {
    "ppo": {
        "brake_every": "review_every",
        "brake_samples": "review_samples",
        "brake_agreement": "review_agreement",
        "brake_waits": "review_waits",
        "brake_judge": "review_by",
    },
}


def current_names(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return `values` by today's names of the options; where both names are there, today's one counts."""
    renamed = _RENAMED.get(kind, {})
    current = {renamed.get(name, name): value for name, value in values.items()}
    return current | {name: values[name] for name in renamed.values() if name in values}
