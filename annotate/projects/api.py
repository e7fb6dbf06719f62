"""Projects: list, create, read."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import OuterRef, Prefetch, Subquery
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find_project
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import projects_where
from annotate.models import Guideline, Project, Role, User
from annotate.projects import actions as projects
from annotate.projects.member_languages import LANGUAGES, change_member
from common.sampling import LONGEST_SYSTEM_PROMPT


class Settings(Input):
    name = serializers.CharField(max_length=120, required=False)
    description = serializers.CharField(required=False, allow_blank=True)
    is_public = serializers.BooleanField(required=False)
    asks_ratings = serializers.BooleanField(required=False)
    asks_comparisons = serializers.BooleanField(required=False)
    asks_rankings = serializers.BooleanField(required=False)
    asks_answers = serializers.BooleanField(required=False)
    asks_attacks = serializers.BooleanField(required=False)
    overlap = serializers.IntegerField(required=False, min_value=1, max_value=1000)
    edit_minutes = serializers.IntegerField(required=False, min_value=0, max_value=10000)
    must_read_guidelines = serializers.BooleanField(required=False)
    gold_percent = serializers.IntegerField(required=False, min_value=0, max_value=50)
    gold_pass_percent = serializers.IntegerField(required=False, min_value=0, max_value=100)
    repeat_percent = serializers.IntegerField(required=False, min_value=0, max_value=50)
    review_percent = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=100,
        help_text="Share of items with one annotation that a reviewer annotates again.",
    )
    open_sign_up = serializers.BooleanField(
        required=False, help_text="Everybody who signs up can join as an annotator."
    )
    needs_second_factor = serializers.BooleanField(
        required=False, help_text="Members without a second factor are refused; you need one to switch it on."
    )
    proof_of_work = serializers.BooleanField(
        required=False, help_text="Browsers of voters without invitation solve a puzzle."
    )
    assignment_minutes = serializers.IntegerField(required=False, min_value=1, max_value=10000)
    daily_goal = serializers.IntegerField(required=False, min_value=0, max_value=30000)
    eval_percent = serializers.IntegerField(
        required=False, min_value=0, max_value=90, help_text="Existing prompts keep their split."
    )
    from_scratch = serializers.BooleanField(
        required=False, help_text="Pages show corpora, tokenizers and pretraining; the API always has them."
    )
    max_new_tokens = serializers.IntegerField(
        required=False, min_value=1, max_value=4096, help_text="Longest answer in tokens."
    )
    temperature = serializers.FloatField(required=False, min_value=0, max_value=2)
    top_p = serializers.FloatField(required=False, min_value=0.01, max_value=1)
    system_prompt = serializers.CharField(
        required=False, allow_blank=True, max_length=LONGEST_SYSTEM_PROMPT, help_text="Sent before each conversation."
    )


class NewProject(Settings):
    slug = serializers.SlugField(max_length=50)
    name = serializers.CharField(max_length=120)
    guidelines = serializers.CharField(required=False, help_text="Markdown.")


class NewGuidelines(Input):
    text = serializers.CharField(allow_blank=True, trim_whitespace=False, help_text="Markdown.")


class Member(Input):
    username = serializers.CharField(max_length=150)
    role = Choice([*Role.choices, ("remove", "remove")], help_text="remove ends the membership; annotations stay.")
    language = serializers.CharField(
        max_length=200, required=False, allow_blank=True, default=None, allow_null=True, help_text=LANGUAGES
    )


class MemberOut(serializers.Serializer):
    username = serializers.CharField(source="user.username")
    role = serializers.CharField()
    language = serializers.CharField(help_text=LANGUAGES)


class ProjectOut(serializers.ModelSerializer):
    guidelines = serializers.SerializerMethodField(help_text="The newest version's text.")
    guideline_version = serializers.SerializerMethodField()

    class Meta:
        model = Project
        fields = (
            *("slug", "name", "description", "is_public", "asks_ratings", "asks_comparisons", "asks_rankings"),
            *("asks_answers", "asks_attacks", "overlap", "assignment_minutes", "edit_minutes", "must_read_guidelines"),
            *("open_sign_up", "needs_second_factor", "proof_of_work", "daily_goal", "eval_percent", "from_scratch"),
            *("max_new_tokens", "temperature", "top_p", "system_prompt"),
            *("created_at", "guidelines", "guideline_version"),
        )

    def to_representation(self, project: Project) -> dict[str, Any]:
        # A list has fetched the newest of each project together; a single project fetches its own, once.
        guidelines = project.newest if hasattr(project, "newest") else [project.guideline]
        self._guideline: Guideline | None = guidelines[0] if guidelines else None
        return super().to_representation(project)

    def get_guidelines(self, project: Project) -> str:
        return self._guideline.text if self._guideline else ""

    def get_guideline_version(self, project: Project) -> int | None:
        return self._guideline.version if self._guideline else None


def _newest_guidelines() -> Prefetch:
    latest = Guideline.objects.filter(project=OuterRef("project")).order_by("-version").values("pk")[:1]
    return Prefetch("guidelines", Guideline.objects.filter(pk=Subquery(latest)), to_attr="newest")


class Projects(DeclaredViewSet):
    """Read, create and change projects that you may see: public ones and your own."""

    rights: ClassVar = {
        "list": "anybody",
        "retrieve": "read",
        "create": "project_maker",
        "partial_update": "manage",
        "guidelines": "manage",
        "members": "manage",
        "change_member": "manage",
    }

    queryset = Project.objects.none()
    serializer_class = ProjectOut
    pagination_class = Newest
    lookup_field = "slug"

    @extend_schema(responses=ProjectOut(many=True))
    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(projects_where(request.user, "read").prefetch_related(_newest_guidelines()))
        return self.get_paginated_response(ProjectOut(page, many=True).data)

    @extend_schema(responses={200: ProjectOut} | refusals(404))
    def retrieve(self, request: Request, slug: str) -> Response:
        return Response(ProjectOut(find_project(request.user, slug)).data)

    @extend_schema(
        request=NewProject, responses={201: ProjectOut} | refusals(400, 403, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent()
    def create(self, request: Request) -> Response:
        fields = NewProject.read(request)
        return Response(ProjectOut(projects.create_project(by=request.user, **fields)).data, status=201)

    @extend_schema(request=Settings, responses={200: ProjectOut} | refusals(400, 403, 404))
    def partial_update(self, request: Request, slug: str) -> Response:
        """Change settings, as a manager."""
        settings = Settings.read(request)
        project = find_project(request.user, slug)
        projects.change_settings(project=project, by=request.user, **settings)
        return Response(ProjectOut(project).data)

    @extend_schema(request=NewGuidelines, responses={200: ProjectOut} | refusals(400, 403, 404, 413))
    @action(detail=True, methods=["post"])
    def guidelines(self, request: Request, slug: str) -> Response:
        """Publish a new version, as a manager; feedback keeps pointing at the version that its annotator had read."""
        new_guidelines = NewGuidelines.read(request)
        project = find_project(request.user, slug)
        projects.revise_guidelines(project=project, by=request.user, **new_guidelines)
        return Response(ProjectOut(project).data)

    @extend_schema(responses={200: MemberOut(many=True)} | refusals(403, 404), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def members(self, request: Request, slug: str) -> Response:
        """List who may do what here, for managers."""
        project = find_project(request.user, slug)
        self.require_role(project)
        return Response(MemberOut(project.memberships.select_related("user").order_by("pk"), many=True).data)

    @extend_schema(
        request=Member,
        responses={200: MemberOut(many=True)} | refusals(400, 403, 404, 409),
        parameters=[IDEMPOTENCY_KEY],
    )
    @members.mapping.post
    @idempotent()
    def change_member(self, request: Request, slug: str) -> Response:
        """Add somebody, change their role or languages, or remove them."""
        member = Member.read(request)
        project = find_project(request.user, slug)
        self.require_role(project)
        username, role, language = (member[name] for name in ("username", "role", "language"))
        user = User.objects.filter(username=username).first()
        if user is None:
            raise Refused(400, username=f"There is no account {username!r}; ask staff to create it first.")
        if role == "remove":
            projects.remove_member(project=project, user=user, by=request.user)
        else:
            change_member(project=project, user=user, role=role, language=language, by=request.user)
        return self.members(request, slug)
