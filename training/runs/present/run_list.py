"""Present the list of runs, for the page and for its live updates."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.template.loader import render_to_string
from django.utils import timezone

from annotate.models import Project
from training.core.kinds import KINDS
from training.core.stages import stages
from training.runs.figures import progress

_PER_PAGE = 40


def context(project: Project, kind: str = "", page: str = "") -> dict[str, Any]:
    runs = project.runs.select_related("parent", "output_model", "output_dataset", "created_by").prefetch_related(
        "attempts"
    )
    if kind in KINDS:
        runs = runs.filter(kind=kind)
    shown = Paginator(runs, _PER_PAGE).get_page(page)
    now, queue = timezone.now(), progress.Queue.now()
    rows = [
        (run, KINDS.get(run.kind), progress.progress(run, list(run.attempts.all()), {}, now, queue)) for run in shown
    ]
    return {
        "project": project,
        "used": [one for stage in stages(_used(project)) for one in stage.kinds],
        "kind": KINDS.get(kind),
        "page": shown,
        "rows": rows,
        "is_live": project.runs.unfinished().exists(),
    }


def _used(project: Project) -> set[str]:
    """Return the kinds of which this project has a run; a filter for the others would show nothing."""
    return set(project.runs.order_by().values_list("kind", flat=True).distinct())


def render_rows(project: Project, kind: str, page: str) -> str:
    return render_to_string("training/runs/runs.html#rows", {**context(project, kind, page), "live": True})
