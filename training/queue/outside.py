"""Other tools are told how a run has ended."""

from __future__ import annotations

from annotate.actions.events import announce
from training.models import Run


def announce_end(run: Run) -> None:
    """Call it inside the transaction that ends the run."""
    data = {"run": run.pk, "name": run.name, "kind": run.kind, "state": run.state, "reason": run.reason}
    announce(project=run.project, event="run.finished", data=data | {"output_model": run.output_model_id})
