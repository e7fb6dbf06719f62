"""Announce which model is served by default from now on."""

from __future__ import annotations

from annotate.core.events import announce
from evaluation.models import Promotion


def announce_promotion(promotion: Promotion) -> None:
    """Announce a promotion, inside the transaction that promotes, or rolls back to what was served before."""
    data = {
        "promotion": promotion.pk,
        "model": promotion.model_id,
        "name": promotion.model.name,
        "reason": promotion.reason,
    }
    data |= {"is_automatic": promotion.is_automatic, "rolls_back": promotion.rolls_back_id}
    announce(project=promotion.project, event="model.promoted", data=data)
