"""Other tools are told which model is served by default from now on."""

from __future__ import annotations

from annotate.core.events import announce
from evaluation.models import Promotion


def announce_promotion(made: Promotion) -> None:
    """Call it inside the transaction that promotes, or rolls back to what was served before."""
    data = {"promotion": made.pk, "model": made.model_id, "name": made.model.name, "reason": made.reason}
    data |= {"is_automatic": made.is_automatic, "rolls_back": made.rolls_back_id}
    announce(project=made.project, event="model.promoted", data=data)
