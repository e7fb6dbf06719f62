"""The leaderboard as it stands, and evaluations: start, list, read."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import IsAuthenticatedOrReadOnly
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from annotate.api.access import find, find_named, find_project, of_project
from annotate.api.fields import IDEMPOTENCY_KEY, PROJECT, Id, Input, refusals
from annotate.api.idempotency import idempotent
from annotate.api.pages import Newest
from annotate.errors import Refused
from annotate.models import Judge
from annotate.permissions import models_seen, projects_where
from evaluation.actions import promote
from evaluation.leaderboard import current, default_judge, left_out
from evaluation.models import Evaluation, Promotion
from evaluation.standings import Standing, standings
from training.api import RunOut, queue, run_out


class AgainstOut(serializers.Serializer):
    model = serializers.CharField(source="model.name")
    difference = serializers.FloatField()
    lower = serializers.FloatField()
    upper = serializers.FloatField()
    verdict = serializers.CharField()
    more_votes = serializers.IntegerField(allow_null=True, help_text="About so many more would decide it.")


class StandingOut(serializers.Serializer):
    model = serializers.CharField(source="model.name")
    model_id = serializers.IntegerField(source="model.pk")
    stage = serializers.CharField(source="model.stage")
    rating = serializers.FloatField()
    lower = serializers.FloatField(help_text="Of the 95 % interval.")
    upper = serializers.FloatField()
    rank = serializers.IntegerField(help_text="The best rank that the intervals allow.")
    worst_rank = serializers.IntegerField()
    battles = serializers.IntegerField()
    wins = serializers.IntegerField()
    ties = serializers.IntegerField()
    losses = serializers.IntegerField()
    against = AgainstOut(allow_null=True, help_text="Its parent, or the nearest ancestor that has been in a battle.")


class LeaderboardOut(serializers.Serializer):
    project = serializers.CharField()
    judge = serializers.ChoiceField(Judge.choices)
    votes = serializers.IntegerField()
    judges = serializers.IntegerField(help_text="How many different ones voted.")
    left_out = serializers.DictField(child=serializers.IntegerField(), help_text="Votes that do not count, by status.")
    signature = serializers.CharField()
    created_at = serializers.DateTimeField(allow_null=True)
    rows = StandingOut(many=True)


@extend_schema(
    responses={200: LeaderboardOut} | refusals(400, 404),
    parameters=[
        OpenApiParameter("project", str, required=True),
        OpenApiParameter("judge", enum=Judge.values, description="Whose votes; people's as soon as there are any."),
    ],
    tags=["leaderboard"],
)
@api_view(["GET"])
@permission_classes([IsAuthenticatedOrReadOnly])
def leaderboard(request: Request) -> Response:
    """Bradley-Terry ratings from counted votes of one kind of judge on the eval side."""
    if "project" not in request.query_params:
        raise Refused(400, project="Say whose leaderboard: ?project=<slug>; GET projects/ lists them.")
    project = find_project(request.user, request.query_params["project"])
    judge = request.query_params.get("judge") or default_judge(project)
    if judge not in Judge.values:
        raise Refused(400, judge=f"{judge!r} is no kind of judge; use {' or '.join(Judge.values)}.")
    board = current(project=project, judge=judge)
    rows: list[Standing] = standings(board)
    body: dict[str, Any] = {
        "project": project.slug,
        "judge": judge,
        "votes": board.votes,
        "judges": board.ratings["judges"],
        "left_out": left_out(project, judge),
        "signature": board.signature,
        "created_at": board.created_at,
        "rows": rows,
    }
    return Response(LeaderboardOut(body).data)


class EvaluationOut(serializers.ModelSerializer):
    project = serializers.SerializerMethodField()
    model_name = serializers.CharField(source="model.name")

    class Meta:
        model = Evaluation
        fields = (
            *("id", "project", "model", "model_name", "run", "metric", "value", "standard_error", "lower", "upper"),
            *("n", "signature", "created_at"),
        )

    def get_project(self, evaluation: Evaluation) -> str | None:
        return evaluation.project.slug if evaluation.project else None


class NewEvaluation(Input):
    project = serializers.SlugField(max_length=50)
    model = Id(help_text="The model to evaluate.")
    name = serializers.CharField(max_length=120)
    dataset = Id(required=False, allow_null=True, default=None)
    reward_model = Id(required=False, allow_null=True, default=None)
    config = serializers.DictField(required=False, default=dict)
    seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**63 - 1)


@extend_schema(tags=["evaluations"])
class Evaluations(GenericViewSet):
    """One metric of one model each, with its error and the signature that tells how to get it again."""

    queryset = Evaluation.objects.none()
    serializer_class = EvaluationOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[Evaluation]:
        seen = Q(project=None) | Q(project__in=projects_where(self.request.user, "read"))
        return Evaluation.objects.filter(seen).select_related("project", "model")

    @extend_schema(
        responses=EvaluationOut(many=True),
        parameters=[PROJECT, OpenApiParameter("model", int), OpenApiParameter("metric")],
    )
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        if (model := request.query_params.get("model")) is not None:
            rows = rows.filter(model=int(model) if model.isascii() and model.isdigit() and len(model) < 19 else 0)
        if (metric := request.query_params.get("metric")) is not None:
            rows = rows.filter(metric=metric.replace("\x00", ""))
        return self.get_paginated_response(EvaluationOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(responses={200: EvaluationOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(EvaluationOut(find(self.get_queryset(), pk, "evaluation")).data)

    @extend_schema(
        request=NewEvaluation, responses={201: RunOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent()
    def create(self, request: Request) -> Response:
        """Queue a run that evaluates a model; its figures appear here when it has ended."""
        given = NewEvaluation(data=request.data)
        given.is_valid(raise_exception=True)
        fields = dict(given.validated_data)
        fields["parent"] = fields.pop("model")
        try:
            run = queue(request, {"kind": "evaluate", **fields})
        except Refused as refused:  # this address calls the parent of the run its model
            renamed = {("model" if name == "parent" else name): text for name, text in refused.errors.items()}
            raise Refused(refused.status, **renamed) from refused
        return Response(run_out(request, run), status=201)


class NewPromotion(Input):
    project = serializers.SlugField(max_length=50)
    model = Id()
    reason = serializers.CharField()


class PromotionOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    model_name = serializers.CharField(source="model.name")

    class Meta:
        model = Promotion
        fields = ("id", "project", "model", "model_name", "leaderboard", "reason", "created_at")


@extend_schema(tags=["evaluations"])
class Promotions(GenericViewSet):
    """Which model a project serves by default, since when and why; the newest is in force."""

    queryset = Promotion.objects.none()
    serializer_class = PromotionOut
    pagination_class = Newest

    @extend_schema(responses=PromotionOut(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        seen = Promotion.objects.filter(project__in=projects_where(request.user, "read"))
        rows = of_project(seen.select_related("project", "model"), request)
        return self.get_paginated_response(PromotionOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        request=NewPromotion, responses={201: PromotionOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent()
    def create(self, request: Request) -> Response:
        """Serve a model from now on, as a manager, with the leaderboard of this moment as the evidence."""
        given = NewPromotion(data=request.data)
        given.is_valid(raise_exception=True)
        project = find_project(request.user, given.validated_data["project"])
        model = find_named(models_seen(request.user), given.validated_data["model"], "model")
        reason = given.validated_data["reason"]
        made = promote(project=project, model=model, reason=reason, by=request.user)
        return Response(PromotionOut(made).data, status=201)
