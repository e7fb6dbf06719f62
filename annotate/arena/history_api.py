"""My battles in a project and what became of each vote: the twin of the page of one's votes, for visitors as well."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.arena.api import VISITOR
from annotate.arena.battle_serializers import NameOut, name_out
from annotate.arena.battles import actions as arena
from annotate.arena.battles import votes
from annotate.core.api import lookup
from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import refusals
from annotate.core.errors import Refused
from annotate.models import Battle, Comparison, Project, Status
from common.whole_numbers import whole_number

MOST = 100


class CastOut(serializers.Serializer):
    comparison = serializers.IntegerField(help_text="The receipt.")
    winner = serializers.CharField()
    status = serializers.ChoiceField(Status.choices)
    counted = serializers.BooleanField()
    ranks = serializers.BooleanField()
    why = serializers.CharField(help_text="What it counts for, or why it is held.")
    model_a = NameOut()
    model_b = NameOut()


class MyBattleOut(serializers.Serializer):
    number = serializers.IntegerField(help_text="For `before`.")
    id = serializers.UUIDField()
    question = serializers.CharField()
    spoilt = serializers.CharField(help_text="Why no vote can be cast; empty otherwise.")
    vote = CastOut(allow_null=True, help_text="null before the vote; it names the models.")
    created_at = serializers.DateTimeField()


@extend_schema(
    responses={200: MyBattleOut(many=True)} | refusals(400, 404),
    parameters=[VISITOR, OpenApiParameter("before", int, description="Only battles with a smaller number, to read the "
    "next page.")],
)  # fmt: skip
@in_project(get="read")
def my_battles(request: Request, project: Project) -> Response:
    """List the battles that this person has started here, the latest first, 100 each."""
    user = request.user if request.user.is_authenticated else None
    rows = arena.battles_of(project=project, visitor=lookup.visitor(request), user=user)
    if (before := request.query_params.get("before")) is not None:
        if (lowest := whole_number(before, None)) is None:
            raise Refused(400, before=f"{before!r} is not a number of a battle; use a whole number.")
        rows = rows.filter(pk__lt=lowest)
    related = ("prompt", "model_a", "model_b", "comparison__prompt", "comparison__completion_a")
    rows = rows.select_related(*related, "comparison__completion_b").order_by("-pk")
    return Response([_shown(battle) for battle in rows[:MOST]])


def _shown(battle: Battle) -> dict[str, Any]:
    cast = getattr(battle, "comparison", None)
    return {
        "number": battle.pk,
        "id": str(battle.token),
        "question": battle.prompt.text,
        "spoilt": battle.spoilt_reason,
        "vote": _cast(battle, cast) if cast else None,
        "created_at": battle.created_at.isoformat(),
    }


def _cast(battle: Battle, cast: Comparison) -> dict[str, Any]:
    counting = votes.counting(cast)
    return {
        "comparison": cast.pk,
        "winner": cast.winner,
        "status": cast.status,
        "counted": cast.status == Status.COUNTED,
        "ranks": counting.ranks,
        "why": counting.words,
        "model_a": name_out(battle.model_a),
        "model_b": name_out(battle.model_b),
    }
