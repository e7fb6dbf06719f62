"""The leaderboard with its files."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django_htmx.middleware import HtmxDetails

from annotate.core import audit
from annotate.core.page_access import in_project
from annotate.models import Project, User
from common.charts.scene import png
from evaluation.leaderboard import exports
from evaluation.leaderboard import present as board_page


class Request(HttpRequest):
    htmx: HtmxDetails


@in_project(get="read")
def leaderboard(request: Request, project: Project) -> HttpResponse:
    if "of" in request.GET:  # the form's one choice, as an address that can be passed on
        return redirect(f"{request.path}?{_canonical(request.GET)}")
    query = _requested(request, project)
    board = board_page.board_of(query)
    if request.htmx and request.GET.get("seen") == board_page.stamp(query, board):
        return HttpResponse(status=204)  # nothing has changed: the page keeps what it shows
    if request.htmx:
        return HttpResponse(board_page.rendered(query, board))
    context = board_page.context(query, board) | {"choices": board_page.choices(query)}
    return render(request, "evaluation/leaderboard/leaderboard.html", context)


def _canonical(query: QueryDict) -> str:
    part, _, name = str(query["of"]).partition(":")
    fields = {"judge": query.get("judge", ""), "at": query.get("at", "")}
    if part in ("category", "language"):
        fields[part] = name
    return urlencode({name: value for name, value in fields.items() if value})


@in_project(get="read")
def leaderboard_csv(request: HttpRequest, project: Project) -> HttpResponse:
    query = _requested(request, project)
    board = board_page.board_of(query)
    parts = [project.slug, "leaderboard", query.judge, slugify(query.category), slugify(query.language)]
    name = "-".join(part for part in parts if part) + ".csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    _note_export(request, project, name)
    return HttpResponse(exports.as_csv(board), content_type="text/csv; charset=utf-8", headers=headers)


@in_project(get="read")
def leaderboard_json(request: HttpRequest, project: Project) -> HttpResponse:
    _note_export(request, project, "leaderboard.json")
    return JsonResponse(exports.as_json(board_page.board_of(_requested(request, project))))


@in_project(get="read")
def leaderboard_png(request: HttpRequest, project: Project) -> HttpResponse:
    """Return the interval plot, for a paper or a slide."""
    _note_export(request, project, "leaderboard.png")
    board = board_page.board_of(_requested(request, project))
    return HttpResponse(png(exports.as_scene(board)), content_type="image/png")


def _note_export(request: HttpRequest, project: Project, name: str) -> None:
    """Record the export in the audit trail when somebody is signed in: visitors of a public page write no rows."""
    if isinstance(request.user, User):
        audit.record(action="leaderboard.exported", about=name, by=request.user, project=project)


def _requested(request: HttpRequest, project: Project) -> board_page.BoardQuery:
    """Return the leaderboard that the address names; raises Http404 for an unknown kind of annotators."""
    try:
        return board_page.parse_query(project, request.GET.dict())
    except ValueError as error:
        raise Http404(str(error)) from error
