"""The arena for programs: a battle, its two nameless answers, further questions, and a vote that reveals the names.

No account is needed. A client without cookies gets a visitor token with its first battle and sends it again in the
`Visitor` header; nothing else tells it from other visitors.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.utils.crypto import salted_hmac
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.arena.battles import actions as arena
from annotate.arena.battles import follow_up
from annotate.arena.battles import scene as battle_scene
from annotate.arena.streaming import live_battles
from annotate.arena.vote_guard import actions as vote_guard
from annotate.core import visitors
from annotate.core.api import lookup
from annotate.core.api.api_access import allows
from annotate.core.api.idempotency import feedback_key, idempotent
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Input, Turn, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can, is_vouched_for
from annotate.models import Battle, Comparison, LanguageModel, Project

WAIT_SECONDS = 100.0
_VISITOR_SALT = "annotate" + ".api.battles.visitor"  # no module's name any more: a repetition must find its battle
VISITOR = OpenApiParameter(
    lookup.VISITOR_HEADER, str, OpenApiParameter.HEADER, description="The token that POST battles/ gave."
)


class NewBattle(Input):
    project = serializers.SlugField(max_length=50)
    text = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, help_text="Ask something.")
    drawn = serializers.BooleanField(required=False, default=False, help_text="Or draw a prompt of the project.")
    wait = serializers.FloatField(required=False, default=WAIT_SECONDS, min_value=0, max_value=WAIT_SECONDS)


class NewTurn(Input):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False)
    number = serializers.IntegerField(
        required=False, allow_null=True, default=None, min_value=2, max_value=99, help_text="Of the turn this is to be."
    )
    wait = serializers.FloatField(required=False, default=WAIT_SECONDS, min_value=0, max_value=WAIT_SECONDS)


class Vote(Input):
    winner = serializers.CharField(help_text="model_a, model_b, tie or both_bad")
    token = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=100, help_text="The battle's `vote_token`; used once."
    )
    seconds = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=86400)
    proof = serializers.CharField(
        required=False, default="", allow_blank=True, help_text="The solved puzzle, where the battle asks for one."
    )
    comment = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class AskedOut(serializers.Serializer):
    messages = Turn(many=True)


class AnswerOut(serializers.Serializer):
    text = serializers.CharField()
    state = serializers.CharField(help_text="waiting, writing, stands, stopped or failed")
    problem = serializers.CharField(help_text="Why the question does not count; the same for both.")
    cut = serializers.CharField(help_text="Says so where the answer had no more room; empty under a whole one.")


class TurnOut(serializers.Serializer):
    number = serializers.IntegerField()
    question = serializers.CharField()
    completions = AnswerOut(many=True)
    problem = serializers.CharField()


class BattleOut(serializers.Serializer):
    id = serializers.UUIDField()
    project = serializers.CharField()
    prompt = AskedOut()
    completions = AnswerOut(many=True, help_text="To the first question: A, then B. Nothing tells one model.")
    turns = TurnOut(many=True, help_text="All questions with their answers, the first one included.")
    ready = serializers.BooleanField(help_text="Both have begun, so a vote can be cast; it ends them where they are.")
    done = serializers.BooleanField(help_text="Nothing is being written; else GET the battle again.")
    vote_token = serializers.CharField(help_text="Send it with the vote; empty until there is something to vote on.")
    voted = serializers.BooleanField()
    visitor = serializers.CharField(help_text="Send it in the `Visitor` header with the vote; empty for accounts.")


class NameOut(serializers.Serializer):
    id = serializers.IntegerField()
    name = serializers.CharField()
    stage = serializers.CharField()


class VoteOut(serializers.Serializer):
    winner = serializers.CharField()
    model_a = NameOut()
    model_b = NameOut()
    counted = serializers.BooleanField(help_text="Whether the vote counts for anything.")
    ranks = serializers.BooleanField(help_text="Whether it moves the leaderboard.")
    why = serializers.CharField()
    comparison = serializers.IntegerField()


def _sender(request: Request) -> str:
    return f"user:{request.user.pk}" if request.user.is_authenticated else f"visitor:{_visitor(request)}"


def _visitor(request: Request) -> str:
    """Who a visitor is; with an Idempotency-Key but nothing else, the key and the address tell repetitions apart.

    The key alone would not do: two strangers who both number their requests from 1 would get one battle.
    """
    known = lookup.visitor(request)
    key = request.headers.get("Idempotency-Key", "")
    return known or (lookup.visitor_of_token(f"key {key} {visitors.address_of(request._request)}") if key else "")


def _visitor_again(request: Request, kept: dict[str, Any]) -> str:
    return lookup.visitor_token(request) or _token_of_key(request)


def _vote_token_again(request: Request, kept: dict[str, Any]) -> str:
    """Empty when it was used up meanwhile."""
    battle = Battle.objects.filter(token=kept["id"]).first()
    return arena.issue_token(battle) if battle else ""


SECRETS = {"visitor": _visitor_again, "vote_token": _vote_token_again}


@extend_schema(
    request=NewBattle,
    responses={201: BattleOut} | refusals(400, 403, 404, 409, 413, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
    tags=["battles"],
)
@allows(post="read")
@idempotent(atomic=False, who=_sender, secrets=SECRETS)
def start(request: Request) -> Response:
    """An arena battle on a given text or a drawn prompt: two answers, no names."""
    new_battle = NewBattle(data=request.data)
    new_battle.is_valid(raise_exception=True)
    project = lookup.find_project(request.user, new_battle.validated_data["project"])
    token, visitor = _identity(request)
    _throttle(request, project, visitor)
    user = request.user if request.user.is_authenticated else None
    networks, wait = visitors.networks_of(request._request), new_battle.validated_data["wait"]
    if wait:
        live_battles.require_room(user=user, visitor=visitor, networks=networks)
    battle = arena.start_battle(
        project=project,
        visitor=visitor,
        user=user,
        text=new_battle.validated_data.get("text"),
        drawn=new_battle.validated_data["drawn"],
    )
    if not battle.is_ready:
        live_battles.write_now(battle, seconds=max(wait, live_battles.LEAST_SECONDS), networks=networks)
    return Response(_shown(battle, token), status=201)


@extend_schema(responses={200: BattleOut} | refusals(404), parameters=[VISITOR], tags=["battles"])
@allows(get="read, mine")
def read(request: Request, token: str) -> Response:
    """A battle of mine, as it stands."""
    battle = _mine(request, token)
    return Response(_shown(battle, lookup.visitor_token(request)))


@extend_schema(request=None, responses={200: BattleOut} | refusals(404), parameters=[VISITOR], tags=["battles"])
@allows(post="read, mine")
def stop(request: Request, token: str) -> Response:
    """End both answers where they are. They can be voted on, or asked on; with no word of one of them they cannot."""
    battle = _mine(request, token)
    live_battles.stop(battle, networks=visitors.networks_of(request._request))
    battle.refresh_from_db()
    return Response(_shown(battle, lookup.visitor_token(request)))


@extend_schema(
    request=NewTurn,
    responses={201: BattleOut} | refusals(400, 403, 404, 409, 413, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
    tags=["battles"],
)
@allows(post="read, mine")
@idempotent(atomic=False, who=_sender, secrets=SECRETS)
def ask_on(request: Request, token: str) -> Response:
    """A further question to both: each goes on from its own answers. The vote is then on the conversation."""
    battle = _mine(request, token)
    new_turn = NewTurn(data=request.data)
    new_turn.is_valid(raise_exception=True)
    visitor = lookup.visitor(request)
    _throttle(request, battle.project, visitor)
    user = request.user if request.user.is_authenticated else None
    networks, wait = visitors.networks_of(request._request), new_turn.validated_data["wait"]
    if wait:
        live_battles.require_room(user=user, visitor=visitor, networks=networks)
    follow_up.ask_on(
        battle=battle,
        text=new_turn.validated_data["text"],
        user=user,
        number=new_turn.validated_data["number"],
    )
    live_battles.write_now(battle, seconds=max(wait, live_battles.LEAST_SECONDS), networks=networks)
    return Response(_shown(battle, lookup.visitor_token(request)), status=201)


@extend_schema(
    request=Vote,
    responses={201: VoteOut} | refusals(400, 403, 404, 409, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
    tags=["battles"],
)
@allows(post="read, mine")
@idempotent(atomic=False, who=_sender)
def vote(request: Request, token: str) -> Response:
    """Say who won: the answer gives the names, and whether the vote counted and why.

    While both are still being written it ends them where they are, and is about what stands then.
    """
    battle = _mine(request, token)
    vote = Vote(data=request.data)
    vote.is_valid(raise_exception=True)
    visitor = lookup.visitor(request)
    key = feedback_key(request)
    sent = dict(vote.validated_data)
    proof = sent.pop("proof")
    ballot = arena.Ballot(
        visitor=visitor,
        user=request.user if request.user.is_authenticated else None,
        idempotency_key=f"{visitor[:16]}:{key}" if key and not request.user.is_authenticated else key,
        **sent,
    )
    origin = vote_guard.Origin(visitors.networks_of(request._request), proof)
    comparison = live_battles.vote(battle=battle, ballot=ballot, origin=origin)
    return Response(_revealed(battle, comparison), status=201)


class PuzzleOut(serializers.Serializer):
    challenge = serializers.CharField(
        allow_null=True,
        help_text="1.bits.expires.salt.signature. Find a number n so that SHA-256 of `challenge.n` begins with so many "
        "zero bits, and send `challenge.n` as `proof`. null: none is asked for, or none can be given; vote without.",
    )


@extend_schema(responses={200: PuzzleOut} | refusals(404), parameters=[VISITOR], tags=["battles"])
@allows(get="read, mine")
def puzzle(request: Request, token: str) -> Response:
    """What a vote without an account solves, where the project asks for it. A vote without it is held, not lost."""
    battle = _mine(request, token)
    user = request.user if request.user.is_authenticated else None
    address = visitors.address_of(request._request)
    wider = visitors.wider_of(request._request)
    return Response({"challenge": vote_guard.puzzle(battle, user=user, address=address, wider=wider)})


def _identity(request: Request) -> tuple[str, str]:
    """The token to give to a client that cannot keep a cookie, and who the visitor is."""
    if request.user.is_authenticated:
        return "", ""
    token = lookup.visitor_token(request)
    if not token and (visitor := lookup.visitor(request)):
        return "", visitor
    token = token or _token_of_key(request) or lookup.new_visitor_token()
    return token, lookup.visitor_of_token(token)


def _token_of_key(request: Request) -> str:
    """The visitor token for a client that has none yet but sends an Idempotency-Key: a repetition is given the same,
    and it need not be kept. Nobody makes it without SECRET_KEY."""
    if not (key := request.headers.get("Idempotency-Key", "")):
        return ""
    address = visitors.address_of(request._request)
    return salted_hmac(_VISITOR_SALT, f"{key} {address}", algorithm="sha256").hexdigest()


def _throttle(request: Request, project: Project, visitor: str) -> None:
    """Members of a project answer for what they do; everyone else is bounded."""
    if not is_vouched_for(request.user, project):
        visitors.throttle_battles(request._request, visitor=visitor)


def _mine(request: Request, token: str) -> Battle:
    """The battle, if it is this person's; a stranger learns nothing, not even that there is one."""
    user = request.user if request.user.is_authenticated else None
    try:
        battle = arena.own_battle(token=token, visitor=lookup.visitor(request), user=user)
    except ValidationError:
        battle = None
    if battle is None or not can(request.user, "read", battle.project):
        raise Refused(
            404, battle="You have started no such battle. A visitor without cookies sends its token in `Visitor`."
        )
    return battle


def _shown(battle: Battle, visitor_token: str) -> dict[str, Any]:
    is_voted = Comparison.objects.filter(battle=battle).exists()
    scenes = battle_scene.scenes(battle, named=is_voted)
    if not is_voted:
        scenes[-1] = live_battles.look(battle)
    turns = [_turn(scene) for scene in scenes]
    can_vote = scenes[-1].can_vote and not is_voted
    return {
        "id": str(battle.token),
        "project": battle.project.slug,
        "prompt": {"messages": battle.prompt.messages},
        "completions": turns[0]["completions"],
        "turns": turns,
        "ready": can_vote,
        "done": scenes[-1].is_over,
        "vote_token": arena.issue_token(battle) if can_vote else "",
        "voted": is_voted,
        "visitor": visitor_token,
    }


def _turn(scene: battle_scene.Scene) -> dict[str, Any]:
    answers = [
        {"text": side.text, "state": side.state, "problem": scene.problem, "cut": side.cut} for side in scene.sides
    ]
    return {
        "number": scene.number,
        "question": scene.question,
        "completions": answers,
        "problem": scene.problem,
    }


def _revealed(battle: Battle, comparison: Comparison) -> dict[str, Any]:
    counting = arena.counting(comparison)
    return {
        "winner": comparison.winner,
        "model_a": name_out(battle.model_a),
        "model_b": name_out(battle.model_b),
        "counted": comparison.status == "counted",
        "ranks": counting.ranks,
        "why": counting.words,
        "comparison": comparison.pk,
    }


def name_out(model: LanguageModel) -> dict[str, Any]:
    return {"id": model.pk, "name": model.name, "stage": model.stage}
