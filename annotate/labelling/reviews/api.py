"""For reviewers: how much of the drawn share is looked at, and the next item of it."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import refusals
from annotate.labelling.assignment_serializers import AssignmentOut
from annotate.labelling.reviews import actions, present
from annotate.models import Project


class FiguresOut(serializers.Serializer):
    percent = serializers.IntegerField(help_text="The share of items with one annotation that is drawn for review.")
    due = serializers.IntegerField()
    reviewed = serializers.IntegerField()
    agreed = serializers.IntegerField()
    disagreed = serializers.IntegerField(help_text="Among the disagreements.")
    settled = serializers.IntegerField(help_text="Decided by another reviewer, sent back or withdrawn since.")


@extend_schema(methods=["GET"], responses={200: FiguresOut} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=None,
    responses={200: AssignmentOut, 204: OpenApiResponse(description="There is nothing for you to review.")}
    | refusals(403, 404, 409),
)
@in_project(get="review", post="review")
def reviews(request: Request, project: Project) -> Response:
    """The figures; by POST the next item to look at as a task of mine, without what was said of it."""
    if request.method == "GET":
        return Response(FiguresOut(present.figures_of(project)).data)
    assignment = actions.take_next(project=project, by=request.user)
    return Response(status=204) if assignment is None else Response(AssignmentOut(assignment).data)
