"""The arena for programs: a battle, its two nameless answers, further questions, and a vote that reveals the names.

No account is needed. A client without cookies gets a visitor token with its first battle and sends it again in the
`Visitor` header; nothing else tells it from other visitors.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.crypto import salted_hmac
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.arena.battle_serializers import BattleOut, NewBattle, NewTurn, PuzzleOut, Vote, VoteOut, revealed, shown
from annotate.arena.battles import actions as arena
from annotate.arena.battles import follow_up, votes
from annotate.arena.streaming import live_battles
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import visitors
from annotate.core.api import lookup
from annotate.core.api.api_access import allows
from annotate.core.api.idempotency import feedback_key, idempotent
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can, is_vouched_for
from annotate.models import Battle, Project

_VISITOR_SALT = "annotate" + ".api.battles.visitor"  # no module's name any more: a repetition must find its battle
VISITOR = OpenApiParameter(
    lookup.VISITOR_HEADER, str, OpenApiParameter.HEADER, description="The token that POST battles/ gave."
)


def _sender(request: Request) -> str:
    return f"user:{request.user.pk}" if request.user.is_authenticated else f"visitor:{_visitor(request)}"


def _visitor(request: Request) -> str:
    """Return who a visitor is; with an Idempotency-Key but nothing else, the key and the address tell repetitions
    apart.

    The key alone would not do: two strangers who both number their requests from 1 would get one battle.
    """
    visitor = lookup.visitor(request)
    key = request.headers.get("Idempotency-Key", "")
    return visitor or (lookup.visitor_of_token(f"key {key} {visitors.address_of(request._request)}") if key else "")


def _visitor_again(request: Request, body: dict[str, Any]) -> str:
    return lookup.visitor_token(request) or _token_of_key(request)


def _vote_token_again(request: Request, body: dict[str, Any]) -> str:
    """Empty when it was used up meanwhile."""
    battle = Battle.objects.filter(token=body["id"]).first()
    return votes.issue_token(battle) if battle else ""


SECRETS = {"visitor": _visitor_again, "vote_token": _vote_token_again}


@extend_schema(
    request=NewBattle,
    responses={201: BattleOut} | refusals(400, 403, 404, 409, 413, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
)
@allows(post="read")
@idempotent(atomic=False, sender_of=_sender, secrets=SECRETS)
def start(request: Request) -> Response:
    """Start an arena battle on a given text or a drawn prompt: two answers, no names."""
    new_battle = NewBattle.read(request)
    project = lookup.find_project(request.user, new_battle["project"])
    token, visitor = _identity(request)
    _throttle(request, project, visitor)
    user = request.user if request.user.is_authenticated else None
    networks, wait = visitors.networks_of(request._request), new_battle["wait"]
    if wait:
        live_battles.require_room(user=user, visitor=visitor, networks=networks)
    battle = arena.start_battle(
        project=project,
        visitor=visitor,
        user=user,
        text=new_battle.get("text"),
        is_drawn=new_battle["drawn"],
    )
    if not battle.is_ready:
        live_battles.write_now(battle, seconds=max(wait, live_battles.LEAST_SECONDS), networks=networks)
    return Response(shown(battle, token), status=201)


@extend_schema(responses={200: BattleOut} | refusals(404), parameters=[VISITOR])
@allows(get="read, mine")
def read(request: Request, token: str) -> Response:
    """Return one of my battles with its answers so far."""
    battle = _own_battle(request, token)
    return Response(shown(battle, lookup.visitor_token(request)))


@extend_schema(request=None, responses={200: BattleOut} | refusals(404), parameters=[VISITOR])
@allows(post="read, mine")
def stop(request: Request, token: str) -> Response:
    """End both answers where they are. They can be voted on, or asked on; with no word of one of them they cannot."""
    battle = _own_battle(request, token)
    live_battles.stop(battle, networks=visitors.networks_of(request._request))
    battle.refresh_from_db()
    return Response(shown(battle, lookup.visitor_token(request)))


@extend_schema(
    request=NewTurn,
    responses={201: BattleOut} | refusals(400, 403, 404, 409, 413, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
)
@allows(post="read, mine")
@idempotent(atomic=False, sender_of=_sender, secrets=SECRETS)
def ask_on(request: Request, token: str) -> Response:
    """Ask both models a follow-up: each goes on from its own answers. The vote is then on the conversation."""
    battle = _own_battle(request, token)
    new_turn = NewTurn.read(request)
    visitor = lookup.visitor(request)
    _throttle(request, battle.project, visitor)
    user = request.user if request.user.is_authenticated else None
    networks, wait = visitors.networks_of(request._request), new_turn["wait"]
    if wait:
        live_battles.require_room(user=user, visitor=visitor, networks=networks)
    follow_up.ask_on(
        battle=battle,
        text=new_turn["text"],
        user=user,
        number=new_turn["number"],
    )
    live_battles.write_now(battle, seconds=max(wait, live_battles.LEAST_SECONDS), networks=networks)
    return Response(shown(battle, lookup.visitor_token(request)), status=201)


@extend_schema(
    request=Vote,
    responses={201: VoteOut} | refusals(400, 403, 404, 409, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
)
@allows(post="read, mine")
@idempotent(atomic=False, sender_of=_sender)
def vote(request: Request, token: str) -> Response:
    """Say who won: the answer gives the names, and whether the vote counted and why.

    While both are still being written it ends them where they are, and is about what stands then.
    """
    battle = _own_battle(request, token)
    fields = Vote.read(request)
    visitor = lookup.visitor(request)
    key = feedback_key(request)
    proof = fields.pop("proof")
    ballot = votes.Ballot(
        visitor=visitor,
        user=request.user if request.user.is_authenticated else None,
        idempotency_key=f"{visitor[:16]}:{key}" if key and not request.user.is_authenticated else key,
        **fields,
    )
    origin = vote_guard.Origin(visitors.networks_of(request._request), proof)
    comparison = live_battles.vote(battle=battle, ballot=ballot, origin=origin)
    return Response(revealed(battle, comparison), status=201)


@extend_schema(responses={200: PuzzleOut} | refusals(404), parameters=[VISITOR])
@allows(get="read, mine")
def puzzle(request: Request, token: str) -> Response:
    """Return the puzzle that a vote without an account solves, where the project asks for one. A vote without it is
    held for review, not lost."""
    battle = _own_battle(request, token)
    user = request.user if request.user.is_authenticated else None
    address = visitors.address_of(request._request)
    wider = visitors.wider_of(request._request)
    return Response({"challenge": vote_guard.puzzle(battle, user=user, address=address, wider=wider)})


def _identity(request: Request) -> tuple[str, str]:
    """Return the token to give to a client that cannot keep a cookie, and who the visitor is."""
    if request.user.is_authenticated:
        return "", ""
    token = lookup.visitor_token(request)
    if not token and (visitor := lookup.visitor(request)):
        return "", visitor
    token = token or _token_of_key(request) or lookup.new_visitor_token()
    return token, lookup.visitor_of_token(token)


def _token_of_key(request: Request) -> str:
    """Return the visitor token for a client that has none yet but sends an Idempotency-Key: a repetition is given the
    same, and it need not be kept. Nobody makes it without SECRET_KEY."""
    if not (key := request.headers.get("Idempotency-Key", "")):
        return ""
    address = visitors.address_of(request._request)
    return salted_hmac(_VISITOR_SALT, f"{key} {address}", algorithm="sha256").hexdigest()


def _throttle(request: Request, project: Project, visitor: str) -> None:
    """Limit what is asked: members of a project answer for what they do; everyone else is bounded."""
    if not is_vouched_for(request.user, project):
        visitors.throttle_battles(request._request, visitor=visitor)


def _own_battle(request: Request, token: str) -> Battle:
    """Return the battle, if it is this person's; a stranger learns nothing, not even that there is one."""
    user = request.user if request.user.is_authenticated else None
    try:
        battle = arena.own_battle(token=token, visitor=lookup.visitor(request), user=user)
    except ValidationError:
        battle = None
    if battle is None or not can(request.user, "read", battle.project):
        raise Refused(
            404, battle="You have no such battle. Without cookies, send the visitor token in the header `Visitor`."
        )
    return battle
