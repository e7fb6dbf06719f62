"""Say on a project's page how many votes rank its models, and which is first."""

from __future__ import annotations

from django.urls import reverse

from annotate.models import AnnotatorKind, LanguageModel, Project
from annotate.projects.overview.overview_parts import Part, Station
from evaluation.leaderboard.pairwise import why_unbounded
from evaluation.leaderboard.snapshots import current, default_annotator_kind


def of_project(project: Project) -> Part:
    """Return the station of the leaderboard: how many votes rank its models, of the annotators on whom it opens; and
    which model is first, where that is sure."""
    judge = default_annotator_kind(project)
    board = current(project=project, judge=judge)
    votes = "votes" if judge == AnnotatorKind.PERSON else "simulated votes"
    rows = board.ratings["rows"]
    line = "no votes yet"
    if rows:
        first = LanguageModel.objects.filter(pk=rows[0]["model"]).values_list("name", flat=True).first()
        is_sure = rows[0]["worst_rank"] == 1 and len(rows) > 1 and not why_unbounded(board)
        line = f"first: {first}" if is_sure else "no clear first yet"
    address = reverse("leaderboard", args=[project.slug])
    return Part((Station("leaderboard", "Leaderboard", board.votes, f"{votes}, {line}" if rows else line, address),))
