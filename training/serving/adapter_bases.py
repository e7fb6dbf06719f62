"""Find which models are adapters over another model's weights, for the registry and a card."""

from __future__ import annotations

from annotate.models import LanguageModel
from training.runs.figures import fidelity


def is_adapter(model: LanguageModel) -> bool:
    fidelity_ = fidelity.of_result((model.card or {}).get("metrics"))
    return fidelity_ is not None and fidelity_.rank is not None


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
    fidelity_ = fidelity.of_result((model.card or {}).get("metrics"))
    if fidelity_ is None or fidelity_.rank is None:
        return ""
    base = base_of(model)
    return f"{fidelity_.form} on {base.name}" if base else fidelity_.form
