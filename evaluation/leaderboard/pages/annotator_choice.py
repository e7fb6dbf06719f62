"""What an address says of whose votes, which model, and so on; shared by the leaderboard's pages."""

from __future__ import annotations

from django.http import Http404, HttpRequest

from annotate.models import AnnotatorKind, Project
from evaluation.leaderboard.snapshots import default_annotator_kind


def asked(request: HttpRequest, project: Project) -> str:
    """Whose votes were asked for; 404 for a kind of annotator that there is not."""
    judge = request.GET.get("judge") or default_annotator_kind(project)
    if judge not in AnnotatorKind.values:
        raise Http404(f"judge is one of {', '.join(AnnotatorKind.values)}, not {judge!r}.")
    return judge
