"""Read whose votes, which model and so on from an address; shared by the leaderboard's pages."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from annotate.models import AnnotatorKind, Project
from evaluation.leaderboard.snapshots import default_annotator_kind


def requested_kind(request: HttpRequest, project: Project) -> str:
    """Return the kind of annotators that the address names; raises Http404 for an unknown one."""
    judge = request.GET.get("judge") or default_annotator_kind(project)
    if judge not in AnnotatorKind.values:
        raise Http404(f"judge is one of {', '.join(AnnotatorKind.values)}, not {judge!r}.")
    return judge
