"""Which models are adapters over another model's weights: what the registry and a card say of them."""

from __future__ import annotations

from annotate.models import LanguageModel
from training.runs.figures import fidelity


def is_adapter(model: LanguageModel) -> bool:
    found = fidelity.of_result((model.card or {}).get("metrics"))
    return found is not None and found.rank is not None


def base_of(model: LanguageModel) -> LanguageModel | None:
    """Return the nearest ancestor with full weights; None for a model that is no adapter, or whose base is unknown."""
    if not is_adapter(model):
        return None
    seen, base = {model.pk}, model.parent
    while base is not None and is_adapter(base) and base.pk not in seen:
        seen.add(base.pk)
        base = base.parent
    return base


def described(model: LanguageModel) -> str:
    """`adapter of rank 16 on SmolLM2`; empty for full weights."""
    found = fidelity.of_result((model.card or {}).get("metrics"))
    if found is None or found.rank is None:
        return ""
    base = base_of(model)
    return f"{found.form} on {base.name}" if base else found.form
