"""Serve the promotions of a project to programs, newest first, and make a new one."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find_named, find_project, of_project
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, Id, Input, refusals
from annotate.core.permissions import models_seen, projects_where
from evaluation.models import Promotion
from evaluation.promotion.actions import promote


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


class Promotions(DeclaredViewSet):
    """List which model a project serves by default, since when and why; the newest is in force."""

    rights: ClassVar = {
        "list": "account",
        "create": "manage",
    }

    queryset = Promotion.objects.none()
    serializer_class = PromotionOut
    pagination_class = Newest

    @extend_schema(responses=PromotionOut(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        visible = Promotion.objects.filter(project__in=projects_where(request.user, "read"))
        rows = of_project(visible.select_related("project", "model"), request)
        return self.get_paginated_response(PromotionOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        request=NewPromotion, responses={201: PromotionOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent(atomic=False)  # it fits ratings; what is served already is refused
    def create(self, request: Request) -> Response:
        """Serve a model from now on, as a manager, with the leaderboard of this moment as the evidence."""
        new_promotion = NewPromotion.read(request)
        project = find_project(request.user, new_promotion["project"])
        model = find_named(models_seen(request.user), new_promotion["model"], "model")
        reason = new_promotion["reason"]
        promotion = promote(project=project, model=model, reason=reason, by=request.user)
        return Response(PromotionOut(promotion).data, status=201)
