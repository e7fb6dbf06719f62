"""The arena for programs: a battle, its two nameless answers, and a vote that reveals the names.

No account is needed. A client without cookies gets a visitor token with its first battle and sends it again in the
`Visitor` header; nothing else tells it from other visitors.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from annotate import live_battles, visitors
from annotate.actions import arena
from annotate.api import access
from annotate.api.fields import IDEMPOTENCY_KEY, Input, Turn, refusals
from annotate.api.idempotency import feedback_key, idempotent
from annotate.errors import Refused
from annotate.models import Battle, Comparison, LanguageModel, Project
from annotate.permissions import can

WAIT_SECONDS = 100.0
VISITOR = OpenApiParameter(
    access.VISITOR_HEADER, str, OpenApiParameter.HEADER, description="The token that POST battles/ gave."
)


class NewBattle(Input):
    project = serializers.SlugField(max_length=50)
    text = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, help_text="Ask something.")
    drawn = serializers.BooleanField(required=False, default=False, help_text="Or draw a prompt of the project.")


class Vote(Input):
    winner = serializers.CharField(help_text="model_a, model_b, tie or both_bad")
    seconds = serializers.FloatField(required=False, allow_null=True, min_value=0, max_value=86400)
    comment = serializers.CharField(required=False, default="", allow_blank=True, max_length=10_000)


class AskedOut(serializers.Serializer):
    messages = Turn(many=True)


class AnswerOut(serializers.Serializer):
    text = serializers.CharField()
    state = serializers.CharField(help_text="stands, waiting, writing or failed")
    problem = serializers.CharField()


class BattleOut(serializers.Serializer):
    id = serializers.UUIDField()
    project = serializers.CharField()
    prompt = AskedOut()
    completions = AnswerOut(many=True, help_text="A, then B. Without names or anything that tells one model.")
    ready = serializers.BooleanField(help_text="Both stand, so a vote can be cast; else GET the battle again.")
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
    known = access.visitor(request)
    key = request.headers.get("Idempotency-Key", "")
    return known or (access.visitor_of_token(f"key {key} {request.META.get('REMOTE_ADDR', '')}") if key else "")


@extend_schema(
    request=NewBattle,
    responses={201: BattleOut} | refusals(400, 403, 404, 409, 429),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
    tags=["battles"],
)
@api_view(["POST"])
@permission_classes([AllowAny])
@idempotent(atomic=False, who=_sender)
def start(request: Request) -> Response:
    """An arena battle on a given text or a drawn prompt: two answers, no names."""
    given = NewBattle(data=request.data)
    given.is_valid(raise_exception=True)
    project = access.find_project(request.user, given.validated_data["project"])
    token, visitor = _identity(request)
    _throttle(request, project, visitor)
    user = request.user if request.user.is_authenticated else None
    battle = arena.start_battle(
        project=project,
        visitor=visitor,
        user=user,
        text=given.validated_data.get("text"),
        drawn=given.validated_data["drawn"],
    )
    stands = live_battles.stored(battle.pk)
    sides = stands if battle.is_ready else live_battles.write_now(battle, seconds=WAIT_SECONDS)
    return Response(_shown(battle, sides, token), status=201)


@extend_schema(responses={200: BattleOut} | refusals(404), parameters=[VISITOR], tags=["battles"])
@api_view(["GET"])
@permission_classes([AllowAny])
def read(request: Request, token: str) -> Response:
    """A battle of mine, as it stands."""
    battle = _mine(request, token)
    return Response(_shown(battle, live_battles.stored(battle.pk), access.visitor_token(request)))


@extend_schema(
    request=Vote,
    responses={201: VoteOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY, VISITOR],
    tags=["battles"],
)
@api_view(["POST"])
@permission_classes([AllowAny])
@idempotent(who=_sender)
def vote(request: Request, token: str) -> Response:
    """Say who won: the answer gives the names, and whether the vote counted and why."""
    battle = _mine(request, token)
    given = Vote(data=request.data)
    given.is_valid(raise_exception=True)
    visitor = access.visitor(request)
    key = feedback_key(request)
    comparison = arena.vote(
        battle=battle,
        visitor=visitor,
        user=request.user if request.user.is_authenticated else None,
        idempotency_key=f"{visitor[:16]}:{key}" if key and not request.user.is_authenticated else key,
        **given.validated_data,
    )
    return Response(_revealed(battle, comparison), status=201)


def _identity(request: Request) -> tuple[str, str]:
    """The token to give to a client that cannot keep a cookie, and who the visitor is."""
    if request.user.is_authenticated:
        return "", ""
    token = access.visitor_token(request)
    if not token and (visitor := access.visitor(request)):
        return "", visitor
    token = token or access.new_visitor_token()
    return token, access.visitor_of_token(token)


def _throttle(request: Request, project: Project, visitor: str) -> None:
    """Members of a project answer for what they do; everyone else is bounded."""
    if not can(request.user, "judge", project):
        visitors.throttle_battles(request._request, visitor=visitor)


def _mine(request: Request, token: str) -> Battle:
    """The battle, if it is this person's; a stranger learns nothing, not even that there is one."""
    try:
        battle = Battle.objects.filter(token=token).select_related("project", "prompt", "model_a", "model_b").first()
    except ValidationError:
        battle = None
    user = request.user if request.user.is_authenticated else None
    if battle is None or not arena.belongs_to(battle, visitor=access.visitor(request), user=user):
        raise Refused(
            404, battle="You have started no such battle. A visitor without cookies sends its token in `Visitor`."
        )
    return battle


def _shown(battle: Battle, sides: live_battles.Sides, visitor_token: str) -> dict[str, Any]:
    return {
        "id": str(battle.token),
        "project": battle.project.slug,
        "prompt": {"messages": battle.prompt.messages},
        "completions": [{"text": side.text, "state": side.state, "problem": side.problem} for side in sides],
        "ready": live_battles.outlook(sides)["ready"],
        "voted": Comparison.objects.filter(battle=battle).exists(),
        "visitor": visitor_token,
    }


def _revealed(battle: Battle, comparison: Comparison) -> dict[str, Any]:
    counting = arena.counting(comparison)
    return {
        "winner": comparison.winner,
        "model_a": _name(battle.model_a),
        "model_b": _name(battle.model_b),
        "counted": comparison.status == "counted",
        "ranks": counting.ranks,
        "why": counting.words,
        "comparison": comparison.pk,
    }


def _name(model: LanguageModel) -> dict[str, Any]:
    return {"id": model.pk, "name": model.name, "stage": model.stage}
