"""The leaderboard as it stands."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find_project
from annotate.core.api.serializer_fields import refusals
from annotate.core.errors import Refused
from annotate.models import AnnotatorKind, Project
from evaluation.leaderboard import present as board_page
from evaluation.leaderboard.leaderboard_rows import Standing, with_fluency
from evaluation.leaderboard.snapshots import default_annotator_kind, left_out

LEADERBOARD = [
    OpenApiParameter("project", str, required=True),
    OpenApiParameter(
        "judge", enum=AnnotatorKind.values, description="Whose votes; by default people's, if there are any."
    ),
]


def requested_board(request: Request) -> tuple[Project, str]:
    """Return the project and the kind of annotators that a request asks for. Refused with what to write instead."""
    if "project" not in request.query_params:
        raise Refused(400, project="Send the project: ?project=<slug>; GET projects/ lists them.")
    project = find_project(request.user, request.query_params["project"])
    judge = request.query_params.get("judge") or default_annotator_kind(project)
    if judge not in AnnotatorKind.values:
        raise Refused(400, judge=f"{judge!r} is not a kind of annotator; use {' or '.join(AnnotatorKind.values)}.")
    return project, judge


class AgainstOut(serializers.Serializer):
    model = serializers.CharField(source="model.name")
    difference = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    verdict = serializers.CharField()
    more_votes = serializers.IntegerField(allow_null=True, help_text="About how many more votes decide it.")


class FigureOut(serializers.Serializer):
    value = serializers.FloatField()
    lower = serializers.FloatField(allow_null=True, help_text="Lower end of the 95 % interval, by prompts.")
    upper = serializers.FloatField(allow_null=True)


class FluencyOut(serializers.Serializer):
    """Describe the model's answers to eval prompts beside its parent's; surprise and entropy in nats a token."""

    under = serializers.CharField(source="parent.name", help_text="The parent that measures the surprise.")
    prompts = serializers.IntegerField()
    run = serializers.IntegerField(source="run_id", allow_null=True)
    surprise = FigureOut(allow_null=True, help_text="Surprise of its answers under its parent.")
    parents_surprise = FigureOut(allow_null=True, help_text="Of the parent's own answers to the same prompts.")
    surprise_above_parent = FigureOut(allow_null=True)
    entropy = FigureOut(allow_null=True, help_text="Entropy of the model at its own answers.")
    parents_entropy = FigureOut(allow_null=True)
    entropy_above_parent = FigureOut(allow_null=True)
    foreign_scripts = FigureOut(
        allow_null=True, help_text="Share of characters in scripts that the parent does not use."
    )


class StandingOut(serializers.Serializer):
    model = serializers.CharField(source="model.name")
    model_id = serializers.IntegerField(source="model.pk")
    stage = serializers.CharField(source="model.stage")
    rating = serializers.FloatField()
    lower = serializers.FloatField(help_text="Lower end of the 95 % interval.")
    upper = serializers.FloatField()
    rank = serializers.IntegerField(help_text="The best rank that the intervals allow.")
    worst_rank = serializers.IntegerField()
    battles = serializers.IntegerField()
    wins = serializers.IntegerField()
    ties = serializers.IntegerField()
    losses = serializers.IntegerField()
    against = AgainstOut(allow_null=True, help_text="Its parent, or the nearest ancestor with battles.")
    fluency = FluencyOut(allow_null=True, help_text="By the newest evaluation of that measure; null without one.")


class LeaderboardOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(AnnotatorKind.choices)
    votes = serializers.IntegerField()
    judges = serializers.IntegerField(
        allow_null=True, help_text="The number of voters; null before voters were first read."
    )
    left_out = serializers.DictField(child=serializers.IntegerField(), help_text="Votes that do not count, by status.")
    signature = serializers.CharField()
    created_at = serializers.DateTimeField(allow_null=True)
    rows = StandingOut(many=True)


@extend_schema(
    responses={200: LeaderboardOut} | refusals(400, 404),
    parameters=[
        *LEADERBOARD,
        OpenApiParameter("category", description="Only votes on prompts of this category."),
        OpenApiParameter("language", description="Only votes on prompts in this language (ISO 639 code)."),
        OpenApiParameter("at", description="The leaderboard at this time, such as 2026-03-31T18:00 (UTC)."),
    ],
)
@allows(get="read")
def leaderboard(request: Request) -> Response:
    """Return Bradley-Terry ratings from counted votes of one kind of annotator in the eval split."""
    project, judge = requested_board(request)
    query = board_page.parse_query(project, request.query_params.dict() | {"judge": judge})
    if query.problem:
        raise Refused(400, **{query.problem_in: query.problem})
    board = board_page.board_of(query)
    rows: list[Standing] = with_fluency(board)
    body: dict[str, Any] = {
        "project": project.slug,
        "judge": judge,
        "votes": board.votes,
        "judges": board.ratings["judges"],
        "left_out": {} if query.at or query.part else left_out(project, judge),
        "signature": board.signature,
        "created_at": board.created_at,
        "rows": rows,
    }
    return Response(LeaderboardOut(body).data)
