"""The arena: ask or draw, watch two nameless answers, vote, see who they were. No account is needed."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import live_battles, visitors
from annotate.actions import arena as actions
from annotate.actions import pairing
from annotate.errors import Refused
from annotate.models import Battle, Comparison, Project, User
from annotate.permissions import can
from annotate.views.access import in_project, refused_page

PATIENCE_SECONDS = 20.0  # of a page without JavaScript, before it shows how far the answers are


@never_cache
@require_http_methods(["GET", "POST"])
@in_project()
def arena(request: HttpRequest, project: Project) -> HttpResponse:
    """Ask something or draw a prompt."""
    refused = None
    if request.method == "POST":
        try:
            return redirect("arena-battle", project.slug, _start(request, project).token)
        except Refused as error:
            refused = error
    context = {
        "project": project,
        "section": "arena",
        "enough": len(pairing.contestants(project)) >= 2,
        "text": request.POST.get("text", ""),
        "errors": refused.errors if refused else {},
        "most": settings.MAX_PROMPT_CHARACTERS,
    }
    response = render(request, "annotate/arena.html", context, status=refused.status if refused else 200)
    if refused and refused.status == 429:
        response["Retry-After"] = str(visitors.WINDOW_SECONDS)
    return response


@never_cache
@require_GET
@in_project()
def battle(request: HttpRequest, project: Project, token: uuid.UUID) -> HttpResponse:
    """Both answers as they are written; after the vote, the names."""
    battle = _mine(request, project, token)
    sides = live_battles.stored(battle.pk)
    waits = "wait" in request.GET  # without JavaScript the page comes back until both stand
    if waits:
        sides = live_battles.write_now(battle, seconds=PATIENCE_SECONDS)
    return render(request, "annotate/arena_battle.html", _battle_context(battle, sides) | {"waits": waits})


@never_cache
@require_POST
@in_project()
def vote(request: HttpRequest, project: Project, token: uuid.UUID) -> HttpResponse:
    battle = _mine(request, project, token)
    try:
        actions.vote(
            battle=battle,
            winner=request.POST.get("winner", ""),
            visitor=visitors.visitor_of(request),
            user=_user(request),
            idempotency_key=request.POST.get("key") or None,
        )
    except Refused as refused:
        return refused_page(request, refused, project=project)
    if request.headers.get("HX-Request"):
        context = _battle_context(battle, live_battles.stored(battle.pk))
        return render(request, "annotate/arena_battle.html#battle", context)
    return redirect("arena-battle", project.slug, battle.token)


@never_cache
@require_GET
@in_project()
def history(request: HttpRequest, project: Project) -> HttpResponse:
    """What this person has voted, and what became of it."""
    mine = actions.battles_of(project=project, visitor=visitors.visitor_of(request), user=_user(request))
    mine = mine.select_related("prompt", "model_a", "model_b", "comparison__prompt").order_by("-pk")
    page = Paginator(mine, 50).get_page(request.GET.get("page"))
    votes = [(battle, _cast(battle)) for battle in page]
    rows = [(battle, cast, actions.counting(cast) if cast else None) for battle, cast in votes]
    context = {"project": project, "section": "arena", "rows": rows, "page": page}
    return render(request, "annotate/arena_history.html", context)


def _start(request: HttpRequest, project: Project) -> Battle:
    visitor = visitors.remember(request)
    if not can(request.user, "judge", project):  # members answer for what they do
        visitors.throttle_battles(request)
    drawn = "draw" in request.POST
    text = None if drawn else request.POST.get("text", "")
    return actions.start_battle(project=project, visitor=visitor, user=_user(request), text=text, drawn=drawn)


def _mine(request: HttpRequest, project: Project, token: uuid.UUID) -> Battle:
    """Their battle. A stranger is not told that there is one."""
    related = ("prompt", "completion_a", "completion_b", "model_a", "model_b", "project")
    battle = Battle.objects.select_related(*related).filter(project=project, token=token).first()
    if not battle or not actions.belongs_to(battle, visitor=visitors.visitor_of(request), user=_user(request)):
        raise Http404("There is no such battle of yours: it belongs to whoever started it, in the same browser.")
    return battle


def _battle_context(battle: Battle, sides: live_battles.Sides) -> dict[str, object]:
    """Before the vote nothing here but the prompt and the texts: a template cannot leak what it is not given."""
    context: dict[str, object] = {
        "project": battle.project,
        "section": "arena",
        "token": battle.token,
        "prompt": battle.prompt.messages,
        "is_drawn": battle.is_drawn,
        "sides": sides,
        **live_battles.outlook(sides),
        "key": uuid.uuid4(),
    }
    if cast := _cast(battle):
        models = {"A": battle.model_a, "B": battle.model_b}
        context |= {"cast": cast, "counting": actions.counting(cast), "models": models}
    return context


def _cast(battle: Battle) -> Comparison | None:
    return getattr(battle, "comparison", None)


def _user(request: HttpRequest) -> User | None:
    return request.user if request.user.is_authenticated else None
