"""The leaderboard with its files, promotion, and the lineage of a model."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe
from django_htmx.middleware import HtmxDetails

from annotate.errors import Refused
from annotate.models import Judge, LanguageModel, Project, User
from annotate.permissions import can
from annotate.views.access import in_project
from evaluation import actions, exports, lineage_graph
from evaluation.leaderboard import current, default_judge, left_out, votes
from evaluation.lineage import descent, offspring, readable_projects
from evaluation.models import Leaderboard
from evaluation.pictures import Axis, axis_over, axis_picture, interval_picture
from evaluation.standings import Standing, position_share, standings, win_matrix


class Request(HttpRequest):
    htmx: HtmxDetails


class SignedIn(HttpRequest):
    user: User


@require_safe
@in_project()
def leaderboard(request: Request, project: Project) -> HttpResponse:
    judge = _judge(request, project)
    board = current(project=project, judge=judge)
    if request.htmx and request.GET.get("seen") == _stamp(board):
        return HttpResponse(status=204)  # nothing has changed: the page keeps what it shows
    others = votes(project, _other(judge))
    rows = standings(board)
    rated = [row for row in rows if row.is_connected]
    context = {
        "project": project,
        "section": "leaderboard",
        "board": board,
        "judges": board.ratings["judges"],
        "judge": judge,
        "others_voted": others.exists(),
        "other_votes": 0 if board.votes else others.count(),
        "left_out": left_out(project, judge),
        "stamp": _stamp(board),
        "promotion": actions.promoted(project),
        **_pictures(rated),
        "unconnected": [row for row in rows if not row.is_connected],
        "untried": _untried(project, rows),
        "is_small": len(rated) <= 8,
        "one_sided": any(row.is_penalised for row in rated),
        "position": position_share(board),
    }
    if request.htmx:
        return render(request, "evaluation/leaderboard.html#board", context)
    context["matrix"] = win_matrix(board, rated)
    if can(request.user, "manage", project):
        context["promotable"] = LanguageModel.objects.available().filter(
            contests__project=project, contests__left_at=None
        )
    return render(request, "evaluation/leaderboard.html", context)


@require_safe
@in_project()
def leaderboard_csv(request: HttpRequest, project: Project) -> HttpResponse:
    board = current(project=project, judge=_judge(request, project))
    name = f"{project.slug}-leaderboard-{board.judge}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(exports.as_csv(board), content_type="text/csv; charset=utf-8", headers=headers)


@require_safe
@in_project()
def leaderboard_json(request: HttpRequest, project: Project) -> HttpResponse:
    return JsonResponse(exports.as_json(current(project=project, judge=_judge(request, project))))


@require_POST
@in_project("manage")
def promote(request: SignedIn, project: Project) -> HttpResponse:
    pk = request.POST.get("model", "")
    model = get_object_or_404(LanguageModel, pk=pk if pk.isdecimal() else None)
    try:
        actions.promote(project=project, model=model, reason=request.POST.get("reason", ""), by=request.user)
        messages.success(request, f"{project} now serves {model} by default.")
    except Refused as refused:
        messages.error(request, " ".join(refused.errors.values()))
    return redirect("leaderboard", slug=project.slug)


@require_safe
def lineage(request: HttpRequest, pk: int) -> HttpResponse:
    model = get_object_or_404(LanguageModel, pk=pk)
    projects = readable_projects(request.user, model)
    if not projects:
        raise Http404("No such model.")
    slug = request.GET.get("project", "")
    project = next((p for p in projects if p.slug == slug), projects[0])
    context = {
        "project": project,
        "section": "models",
        "model": model,
        "graph": lineage_graph.of_model(model, request.user),
        "steps": descent(model, project, request.user),
        "offspring": offspring(model, projects, request.user),
    }
    return render(request, "evaluation/lineage.html", context)


def _judge(request: HttpRequest, project: Project) -> str:
    """Whose votes were asked for; 404 for a kind of judge that there is not."""
    judge = request.GET.get("judge") or default_judge(project)
    if judge not in Judge.values:
        raise Http404(f"judge is one of {', '.join(Judge.values)}, not {judge!r}.")
    return judge


def _other(judge: str) -> str:
    return Judge.PERSON if judge == Judge.SIMULATION else Judge.SIMULATION


def _stamp(board: Leaderboard) -> str:
    return str(board.pk or 0)


def _pictures(rated: list[Standing]) -> dict[str, Any]:
    """Rows with their intervals drawn on one axis."""
    if not rated:
        return {"rows": []}
    axis: Axis = axis_over([(row.lower, row.upper) for row in rated])
    return {
        "rows": [(row, interval_picture(axis, row.rating, row.lower, row.upper)) for row in rated],
        "axis": axis_picture(axis),
    }


def _untried(project: Project, rows: list[Standing]) -> list[LanguageModel]:
    """Models in the arena that no counted vote has met yet."""
    met = [row.model.pk for row in rows]
    in_arena = LanguageModel.objects.filter(contests__project=project, contests__left_at=None)
    return list(in_arena.exclude(pk__in=met).order_by("name"))
