"""Who is told that a run has ended: other apps by a signal, other tools by an event."""

from __future__ import annotations

from django.dispatch import Signal

from annotate.core.events import announce
from training.models import Run

# Sent after the commit that ended a run, well or not. Receivers get `run`; what they raise is not passed on.
run_finished = Signal()


def announce_end(run: Run) -> None:
    """Call it inside the transaction that ends the run."""
    data = {"run": run.pk, "name": run.name, "kind": run.kind, "state": run.state, "reason": run.reason}
    announce(project=run.project, event="run.finished", data=data | {"output_model": run.output_model_id})
