"""Show the arena: ask or draw, watch two nameless answers, vote, see the models. No account is needed."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from annotate.arena.battles import actions, follow_up, pairing, vote_effects
from annotate.arena.battles import scene as battle_scene
from annotate.arena.battles import votes as battle_votes
from annotate.arena.streaming import live_battles
from annotate.arena.streaming.frames import Frames, outlook
from annotate.arena.usual_wait import usual_seconds
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import visitors
from annotate.core.errors import Refused
from annotate.core.form_idempotency import feedback_key
from annotate.core.page_access import in_project, refused_page
from annotate.core.permissions import is_vouched_for
from annotate.models import Battle, Comparison, Project, User
from common.texts import with_line_feeds
from common.whole_numbers import whole_number

_CAST = ("comparison__prompt", "comparison__completion_a", "comparison__completion_b")
EXAMPLES = (
    "Why does the sea come and go?",
    "Explain recursion to a ten-year-old.",
    "Write a short, polite e-mail that asks for a refund.",
    "Plan three vegetarian dinners for two.",
)
PATIENCE_SECONDS = 20.0  # of a page without JavaScript, before it shows how far the answers are


@never_cache
@in_project(get="read", post="read")
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
        "enough": len(pairing.contestants(project)) >= 2,
        "text": request.POST.get("text", request.GET.get("text", ""))[: settings.MAX_PROMPT_CHARACTERS],
        "examples": EXAMPLES,
        "can_draw": pairing.can_draw(project),
        "errors": refused.errors if refused else {},
        "most": settings.MAX_PROMPT_CHARACTERS,
    }
    response = render(request, "annotate/arena/arena.html", context, status=refused.status if refused else 200)
    if refused and refused.retry_after:
        response["Retry-After"] = str(refused.retry_after)
    return response


@never_cache
@in_project(get="read, mine")
def battle(request: HttpRequest, project: Project, token: uuid.UUID) -> HttpResponse:
    """Show both answers as they are written; after the vote, the names."""
    battle = _own_battle(request, project, token)
    waits = "wait" in request.GET  # without JavaScript the page comes back until both stand
    if waits:
        try:
            networks = visitors.networks_of(request)
            live_battles.require_room(user=_user(request), visitor=battle.visitor, networks=networks)
        except Refused as refused:
            return refused_page(request, refused, project=project)
        live_battles.write_now(battle, seconds=PATIENCE_SECONDS, networks=networks)
    return render(request, "annotate/arena/arena_battle.html", _battle_context(battle) | {"waits": waits})


@never_cache
@in_project(post="read, mine")
def vote(request: HttpRequest, project: Project, token: uuid.UUID) -> HttpResponse:
    """Take the vote, also in mid-stream: both answers end where they are, and are kept."""
    battle = _own_battle(request, project, token)
    visitor, user = visitors.visitor_of(request), _user(request)
    try:
        live_battles.vote(
            battle=battle,
            ballot=battle_votes.Ballot(
                winner=request.POST.get("winner", ""),
                token=request.POST.get("token", ""),
                visitor=visitor,
                user=user,
                comment=with_line_feeds(request.POST.get("comment", "")),
                idempotency_key=feedback_key(request, str(user.pk) if user else visitor[:16], "key"),
            ),
            origin=vote_guard.Origin(visitors.networks_of(request), request.POST.get("proof", "")),
        )
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return _shown(request, battle)


@never_cache
@in_project(post="read, mine")
def stop(request: HttpRequest, project: Project, token: uuid.UUID) -> HttpResponse:
    """Stop both answers where they are; then they can be voted on, or asked on."""
    battle = _own_battle(request, project, token)
    scene = live_battles.stop(battle, networks=visitors.networks_of(request))
    if not request.headers.get("HX-Request"):
        return redirect("arena-battle", project.slug, battle.token)
    vote_token = battle_votes.issue_token(battle) if scene.can_vote else ""
    return HttpResponse(Frames().of(scene, vote_token))


@never_cache
@in_project(post="read, mine")
def turn(request: HttpRequest, project: Project, token: uuid.UUID) -> HttpResponse:
    """Ask both a further question."""
    battle = _own_battle(request, project, token)
    try:
        _throttle(request, project)
        follow_up.ask_on(
            battle=battle,
            text=with_line_feeds(request.POST.get("text", "")),
            user=_user(request),
            number=whole_number(request.POST.get("number", ""), None, digits=3),
        )
    except Refused as refused:
        if "text" not in refused.errors:
            return refused_page(request, refused, project=project)
        context = _battle_context(battle) | {"errors": refused.errors, "text": request.POST.get("text", "")}
        is_htmx = bool(request.headers.get("HX-Request"))  # which swaps nothing in when the status says no
        page = "annotate/arena/arena_battle.html#battle" if is_htmx else "annotate/arena/arena_battle.html"
        return render(request, page, context, status=200 if is_htmx else refused.status)
    battle.refresh_from_db()
    return _shown(request, battle)


@never_cache
@in_project(get="read")
def history(request: HttpRequest, project: Project) -> HttpResponse:
    """Show what this person has voted, and what became of it."""
    own_battles = actions.battles_of(project=project, visitor=visitors.visitor_of(request), user=_user(request))
    own_battles = own_battles.select_related("prompt", "model_a", "model_b", *_CAST).order_by("-pk")
    page = Paginator(own_battles, 50).get_page(request.GET.get("page"))
    votes = [(battle, _cast(battle)) for battle in page]
    rows = [(battle, cast, battle_votes.counting(cast) if cast else None) for battle, cast in votes]
    context = {"project": project, "rows": rows, "page": page}
    return render(request, "annotate/arena/arena_history.html", context)


@never_cache
@in_project(get="read, mine")
def puzzle(request: HttpRequest, project: Project, token: uuid.UUID) -> JsonResponse:
    """Return {"challenge": text} for static/annotate/arena/proof.js, or null where none is asked for or can be given:
    the vote may be cast all the same."""
    battle = _own_battle(request, project, token)
    address, wider = visitors.address_of(request), visitors.wider_of(request)
    return JsonResponse({"challenge": vote_guard.puzzle(battle, user=_user(request), address=address, wider=wider)})


def _shown(request: HttpRequest, battle: Battle) -> HttpResponse:
    """Show the battle as it stands after something was done with it."""
    if request.headers.get("HX-Request"):
        return render(request, "annotate/arena/arena_battle.html#battle", _battle_context(battle))
    return redirect("arena-battle", battle.project.slug, battle.token)


def _start(request: HttpRequest, project: Project) -> Battle:
    """Start a battle; a visitor has a session from the first one on. What is refused leaves none: else each try would
    be a row."""
    _throttle(request, project)
    is_new = not request.session.session_key
    is_drawn = "draw" in request.POST
    text = None if is_drawn else with_line_feeds(request.POST.get("text", ""))
    visitor = visitors.remember(request)
    if is_new and not request.user.is_authenticated:
        visitors.count_visitor(visitor)
    try:
        return actions.start_battle(project=project, visitor=visitor, user=_user(request), text=text, is_drawn=is_drawn)
    except Refused:
        if is_new:
            request.session.flush()
        raise


def _throttle(request: HttpRequest, project: Project) -> None:
    if not is_vouched_for(request.user, project):  # members answer for what they do
        visitors.throttle_battles(request)


def _own_battle(request: HttpRequest, project: Project, token: uuid.UUID) -> Battle:
    """Return their battle. A stranger is not told that there is one."""
    battle = actions.own_battle(token=token, visitor=visitors.visitor_of(request), user=_user(request))
    if battle is None or battle.project_id != project.pk:
        raise Http404("You have no such battle: only the person who started it can open it, in the same browser.")
    return battle


def _battle_context(battle: Battle) -> dict[str, object]:
    """Return the context of a battle. Before the vote nothing is in it but questions and texts: a template cannot leak
    what it is not given."""
    cast = _cast(battle)
    scenes = battle_scene.scenes(battle, named=cast is not None)
    scene = scenes[-1] if cast else live_battles.look(battle)
    context: dict[str, object] = {
        "project": battle.project,
        "token": battle.token,
        "before": battle.prompt.messages[:-1],
        "is_drawn": battle.is_drawn,
        "earlier": scenes[:-1],
        "first_question": battle.prompt.text,
        "key": uuid.uuid4(),
        "asks_puzzle": vote_guard.asks_puzzle(battle.project, battle.user),
        **outlook(scene),
    }
    if cast is None:
        vote_token = battle_votes.issue_token(battle) if scene.can_vote else ""
        return context | {"vote_token": vote_token, "usual_seconds": usual_seconds(battle.project)}
    models = {"A": battle.model_a, "B": battle.model_b}
    is_masked = battle.hold_reason == actions.NAMED_ITSELF
    counting = battle_votes.counting(cast)
    return context | {
        "cast": cast,
        "counting": counting,
        "models": models,
        "is_masked": is_masked,
        "effect": vote_effects.effect_of(cast) if counting.ranks else None,
        "can_draw": pairing.can_draw(battle.project),
    }


def _cast(battle: Battle) -> Comparison | None:
    return getattr(battle, "comparison", None)


def _user(request: HttpRequest) -> User | None:
    return request.user if request.user.is_authenticated else None
