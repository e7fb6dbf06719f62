"""Projects: list, create, read."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticatedOrReadOnly
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from annotate.actions import projects
from annotate.api.access import find_project, projects_where
from annotate.api.fields import IDEMPOTENCY_KEY, Input, refusals
from annotate.api.idempotency import idempotent
from annotate.api.pages import Newest
from annotate.models import Project


class NewProject(Input):
    slug = serializers.SlugField(max_length=50)
    name = serializers.CharField(max_length=120)
    guidelines = serializers.CharField(required=False, help_text="Markdown.")
    description = serializers.CharField(required=False, allow_blank=True)
    is_public = serializers.BooleanField(required=False)
    asks_ratings = serializers.BooleanField(required=False)
    asks_comparisons = serializers.BooleanField(required=False)
    overlap = serializers.IntegerField(required=False, min_value=1, max_value=1000)
    assignment_minutes = serializers.IntegerField(required=False, min_value=1, max_value=10000)
    daily_goal = serializers.IntegerField(required=False, min_value=0, max_value=30000)
    eval_percent = serializers.IntegerField(required=False, min_value=0, max_value=90)


class ProjectOut(serializers.ModelSerializer):
    guidelines = serializers.SerializerMethodField(help_text="The newest version's text.")
    guideline_version = serializers.SerializerMethodField()

    class Meta:
        model = Project
        fields = (
            *("slug", "name", "description", "is_public", "asks_ratings", "asks_comparisons", "overlap"),
            *("assignment_minutes", "daily_goal", "eval_percent", "created_at", "guidelines", "guideline_version"),
        )

    def get_guidelines(self, project: Project) -> str:
        return project.guideline.text if project.guideline else ""

    def get_guideline_version(self, project: Project) -> int | None:
        return project.guideline.version if project.guideline else None


@extend_schema(tags=["projects"])
class Projects(GenericViewSet):
    """Projects that you may see: public ones and your own."""

    queryset = Project.objects.none()
    serializer_class = ProjectOut
    permission_classes = (IsAuthenticatedOrReadOnly,)
    pagination_class = Newest
    lookup_field = "slug"

    @extend_schema(responses=ProjectOut(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(projects_where(request.user, "read"))
        return self.get_paginated_response(ProjectOut(page, many=True).data)

    @extend_schema(responses={200: ProjectOut} | refusals(404))
    def retrieve(self, request: Request, slug: str) -> Response:
        return Response(ProjectOut(find_project(request.user, slug)).data)

    @extend_schema(
        request=NewProject, responses={201: ProjectOut} | refusals(400, 403, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent()
    def create(self, request: Request) -> Response:
        given = NewProject(data=request.data)
        given.is_valid(raise_exception=True)
        fields: dict[str, Any] = given.validated_data
        return Response(ProjectOut(projects.create_project(by=request.user, **fields)).data, status=201)
