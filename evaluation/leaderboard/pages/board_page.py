"""The leaderboard with its files."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.text import slugify
from django_htmx.middleware import HtmxDetails

from annotate.core import audit
from annotate.core.page_access import in_project
from annotate.core.permissions import can
from annotate.models import LanguageModel, Project, User
from common.charts.scene import png
from evaluation.leaderboard import exports
from evaluation.leaderboard import present as board_page


class Request(HttpRequest):
    htmx: HtmxDetails


@in_project(get="read")
def leaderboard(request: Request, project: Project) -> HttpResponse:
    if "of" in request.GET:  # the form's one choice, as an address that can be passed on
        return redirect(f"{request.path}?{_canonical(request.GET)}")
    asked = _asked(request, project)
    board = board_page.board_of(asked)
    if request.htmx and request.GET.get("seen") == board_page.stamp(asked, board):
        return HttpResponse(status=204)  # nothing has changed: the page keeps what it shows
    if request.htmx:
        return HttpResponse(board_page.rendered(asked, board))
    context = board_page.context(asked, board) | {"choices": board_page.choices(asked)}
    if can(request.user, "manage", project):
        context["promotable"] = LanguageModel.objects.available().filter(
            contests__project=project, contests__left_at=None
        )
    return render(request, "evaluation/leaderboard.html", context)


def _canonical(query: QueryDict) -> str:
    part, _, name = str(query["of"]).partition(":")
    given = {"judge": query.get("judge", ""), "at": query.get("at", "")}
    if part in ("category", "language"):
        given[part] = name
    return urlencode({name: value for name, value in given.items() if value})


@in_project(get="read")
def leaderboard_csv(request: HttpRequest, project: Project) -> HttpResponse:
    asked = _asked(request, project)
    board = board_page.board_of(asked)
    parts = [project.slug, "leaderboard", asked.judge, slugify(asked.category), slugify(asked.language)]
    name = "-".join(part for part in parts if part) + ".csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    _note_export(request, project, name)
    return HttpResponse(exports.as_csv(board), content_type="text/csv; charset=utf-8", headers=headers)


@in_project(get="read")
def leaderboard_json(request: HttpRequest, project: Project) -> HttpResponse:
    _note_export(request, project, "leaderboard.json")
    return JsonResponse(exports.as_json(board_page.board_of(_asked(request, project))))


@in_project(get="read")
def leaderboard_png(request: HttpRequest, project: Project) -> HttpResponse:
    """The interval plot, for a paper or a slide."""
    _note_export(request, project, "leaderboard.png")
    board = board_page.board_of(_asked(request, project))
    return HttpResponse(png(exports.as_scene(board)), content_type="image/png")


def _note_export(request: HttpRequest, project: Project, name: str) -> None:
    """Of who is signed in alone: visitors of a public page write no rows."""
    if isinstance(request.user, User):
        audit.record(action="leaderboard.exported", about=name, by=request.user, project=project)


def _asked(request: HttpRequest, project: Project) -> board_page.Asked:
    """Which leaderboard was asked for; 404 for a kind of annotator that there is not."""
    try:
        return board_page.asked(project, request.GET.dict())
    except ValueError as error:
        raise Http404(str(error)) from error
