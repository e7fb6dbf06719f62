"""Serve what comes before the next task: guidelines to be read, a message, the tutorial."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows, in_project
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import Input, refusals
from annotate.labelling.assignment_serializers import AssignmentOut
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.labelling.tutorial import actions as tutorial
from annotate.models import Assignment, Membership, Project


class Version(Input):
    version = serializers.IntegerField(
        required=False, min_value=1, help_text="The version that was read; by default the newest."
    )


class Read(serializers.Serializer):
    version = serializers.IntegerField(allow_null=True)
    text = serializers.CharField(help_text="Markdown.")


class LessonOut(serializers.Serializer):
    assignment = serializers.IntegerField(source="assignment.pk")
    is_right = serializers.BooleanField()
    expected = serializers.DictField(child=serializers.ListField())
    explanation = serializers.CharField()
    number = serializers.IntegerField()
    total = serializers.IntegerField()


class Message(serializers.Serializer):
    text = serializers.CharField(help_text="Markdown; empty when there is none.")


@extend_schema(request=Version, responses={200: Read} | refusals(400, 403, 404, 409))
@in_project(post="judge")
def guidelines_read(request: Request, project: Project) -> Response:
    """Record that I have read the guidelines; answers with them."""
    version = Version.read(request).get("version")
    guideline = prerequisites.guidelines_read(project=project, user=request.user, version=version)
    return Response({"version": guideline.version if guideline else None, "text": guideline.text if guideline else ""})


@extend_schema(methods=["GET"], responses={200: Message} | refusals(403, 404))
@extend_schema(methods=["POST"], request=None, responses={200: Message} | refusals(403, 404))
@in_project(get="judge", post="judge")
def message(request: Request, project: Project) -> Response:
    """Return the message before my next task; POST records that I have read it."""
    member = Membership.objects.filter(project=project, user=request.user).first()
    if request.method == "POST" and member is not None:
        prerequisites.notice_read(project=project, user=request.user)
        member.notice = ""
    return Response({"text": member.notice if member else ""})


@extend_schema(
    request=None,
    responses={200: AssignmentOut, 204: OpenApiResponse(description="All tutorial items are answered.")}
    | refusals(403, 404),
)
@in_project(post="judge")
def next_lesson(request: Request, project: Project) -> Response:
    """Return the next task of the tutorial. Submit it like any other, then read its lesson."""
    assignment = tutorial.next_lesson(project=project, user=request.user)
    return Response(status=204) if assignment is None else Response(AssignmentOut(assignment).data)


@extend_schema(responses={200: LessonOut} | refusals(403, 404, 409))
@allows(get="mine")
def lesson(request: Request, pk: str) -> Response:
    """Return what was right in a task of the tutorial that I have answered, and why."""
    rows = Assignment.objects.select_related("project", "gold").filter(user=request.user)
    return Response(LessonOut(tutorial.lesson_of(find(rows, pk, "assignment"), request.user)).data)
