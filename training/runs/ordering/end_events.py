"""Tell that a run has ended: other apps by a hook, other tools by an event."""

from __future__ import annotations

import logging
from collections.abc import Callable

from annotate.core.events import announce
from annotate.core.hooks import Hook
from training.models import Run

RUN_FINISHED: Hook[Callable[[Run], None]] = Hook(
    "finished runs", "Called with a run after the commit that ended it, well or not. What they raise is logged."
)
log = logging.getLogger("assay.runs")


def tell_finished(run: Run) -> dict[str, Exception]:
    """Call the hooks of a finished run, after the commit; return what failed, by name. Nothing is raised."""
    errors: dict[str, Exception] = {}
    for name, receive in RUN_FINISHED.items():
        try:
            receive(run)
        except Exception as error:  # the edge between apps: a fault of one must neither stop the others nor the run
            log.exception("%s failed for run %s", name, run.pk)
            errors[name] = error
    return errors


def announce_end(run: Run) -> None:
    """Announce the end of a run, inside its transaction."""
    data = {"run": run.pk, "name": run.name, "kind": run.kind, "state": run.state, "reason": run.reason}
    announce(project=run.project, event="run.finished", data=data | {"output_model": run.output_model_id})
