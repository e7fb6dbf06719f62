"""Delete checkpoints because somebody asks for it, with a line in the audit trail."""

from __future__ import annotations

from annotate.core import audit
from annotate.core.permissions import require
from annotate.models import Project, User
from training.models import Run
from training.storage import pruning


def prune(*, project: Project, by: User, run: Run | None = None) -> int:
    """Delete the project's checkpoints that the rule lets go, of `run` every one; the bytes that are free again."""
    require(by, "research", project)
    freed = pruning.prune_last(run) if run else sum(p.size for p in pruning.prune(at_once=True, project=project))
    about = f"{run.kind} {run.name}" if run else "by the rule"
    audit.record(action="checkpoints.pruned", about=f"{about}: {freed} bytes", by=by, project=project)
    return freed
