"""Find which models are adapters over another model's weights, for the registry and a card."""

from __future__ import annotations

from annotate.models import LanguageModel
from training.runs.figures import fidelity


def rank_of(model: LanguageModel) -> int | None:
    """Return the rank of an adapter; None for full weights, and where the card does not say."""
    saved = _fidelity(model)
    return saved.rank if saved else None


def is_adapter(model: LanguageModel) -> bool:
    return rank_of(model) is not None


def base_of(model: LanguageModel) -> LanguageModel | None:
    """Return the nearest ancestor with full weights; None for a model that is no adapter, or whose base is unknown."""
    if not is_adapter(model):
        return None
    visited, base = {model.pk}, model.parent
    while base is not None and is_adapter(base) and base.pk not in visited:
        visited.add(base.pk)
        base = base.parent
    return base


def described(model: LanguageModel) -> str:
    """Return `adapter of rank 16 on SmolLM2`; empty for full weights."""
    saved = _fidelity(model)
    if saved is None or saved.rank is None:
        return ""
    base = base_of(model)
    return f"{saved.form} on {base.name}" if base else saved.form


def _fidelity(model: LanguageModel) -> fidelity.Fidelity | None:
    return fidelity.of_result((model.card or {}).get("metrics"))
