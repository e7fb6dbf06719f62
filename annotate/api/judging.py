"""Assignments: the next task for me, what I say about it, and taking that back. No answer here names a model."""

from __future__ import annotations

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action, api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from annotate.actions import assignments, feedback
from annotate.api.access import find, find_project
from annotate.api.fields import IDEMPOTENCY_KEY, Choice, Id, Input, Turn, refusals
from annotate.api.idempotency import feedback_key, idempotent
from annotate.errors import Refused
from annotate.models import Assignment, Completion


class Ask(Input):
    kind = Choice(Assignment.Kind.choices, required=False, allow_null=True, default=None)


class PromptSeen(serializers.Serializer):
    id = serializers.IntegerField()
    messages = Turn(many=True)
    category = serializers.CharField()


class CompletionSeen(serializers.Serializer):
    """Its text alone: no model, no settings."""

    id = serializers.IntegerField()
    text = serializers.CharField()


class AssignmentOut(serializers.Serializer):
    id = serializers.IntegerField()
    project = serializers.CharField(source="project.slug")
    kind = serializers.ChoiceField(Assignment.Kind.choices)
    state = serializers.ChoiceField(Assignment.State.choices)
    prompt = PromptSeen()
    completions = CompletionSeen(many=True, help_text="In the order shown: the first is A.")
    expires_at = serializers.DateTimeField()


class Submission(Input):
    """A judgement, an answer of one's own in `text`, or both."""

    winner = serializers.CharField(
        required=False, allow_null=True, help_text="model_a, model_b, tie or both_bad: for a comparison."
    )
    strength = serializers.IntegerField(required=False, allow_null=True, help_text="1 slightly, 2 clearly, 3 much.")
    thumbs = serializers.BooleanField(required=False, allow_null=True, help_text="True is up: for a rating.")
    stars = serializers.IntegerField(required=False, allow_null=True, help_text="1 to 5: for a rating.")
    aspects = serializers.DictField(required=False, allow_null=True, help_text="Names with 1 to 5: for a rating.")
    text = serializers.CharField(
        required=False, allow_null=True, allow_blank=True, trim_whitespace=False, help_text="A better answer."
    )
    edited_from = Id(required=False, allow_null=True, help_text="The completion that `text` was made out of.")
    comment = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False)
    seconds = serializers.FloatField(required=False, allow_null=True, help_text="From being shown to being sent.")


class Receipt(serializers.Serializer):
    """What was stored, and whether it counts."""

    kind = serializers.CharField(help_text="comparison, rating or demonstration")
    id = serializers.IntegerField()
    assignment = serializers.IntegerField()
    status = serializers.CharField()
    status_reason = serializers.CharField()
    counted = serializers.BooleanField()


class Skip(Input):
    reason = serializers.CharField(allow_blank=True)


@extend_schema(
    request=Ask,
    responses={200: AssignmentOut, 204: OpenApiResponse(description="There is nothing to judge just now.")}
    | refusals(400, 403, 404),
    tags=["assignments"],
)
@api_view(["POST"])
def next_assignment(request: Request, slug: str) -> Response:
    """The next task for me: the one in my hands, else a new one."""
    given = Ask(data=request.data)
    given.is_valid(raise_exception=True)
    project = find_project(request.user, slug)
    assignment = assignments.next_for(project=project, user=request.user, kind=given.validated_data["kind"])
    if assignment is None:
        return Response(status=204)
    return Response(AssignmentOut(assignment).data)


@extend_schema(tags=["assignments"])
class Assignments(GenericViewSet):
    """Tasks that were handed to me."""

    queryset = Assignment.objects.none()
    serializer_class = AssignmentOut

    def get_queryset(self) -> QuerySet[Assignment]:
        return Assignment.objects.select_related("project", "prompt", "completion_a", "completion_b", "user")

    @extend_schema(responses={200: AssignmentOut} | refusals(403, 404))
    def retrieve(self, request: Request, pk: str) -> Response:
        assignment = find(self.get_queryset(), pk, "assignment")
        assignments.require_owner(assignment, request.user)
        return Response(AssignmentOut(assignment).data)

    @extend_schema(
        request=Submission,
        responses={201: Receipt} | refusals(400, 403, 404, 409, 410, 413),
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def submit(self, request: Request, pk: str) -> Response:
        """Send the judgement. Sent again with the same Idempotency-Key, it is stored once."""
        assignment = find(self.get_queryset(), pk, "assignment")
        assignments.require_owner(assignment, request.user)
        given = Submission(data=request.data)
        given.is_valid(raise_exception=True)
        fields = {name: value for name, value in given.validated_data.items() if value is not None}
        if "edited_from" in fields:
            fields["edited_from"] = _shown(assignment, fields["edited_from"])
        row = feedback.submit(assignment=assignment, by=request.user, idempotency_key=feedback_key(request), **fields)
        receipt = {
            "kind": row._meta.model_name,
            "id": row.pk,
            "assignment": assignment.pk,
            "status": row.status,
            "status_reason": row.status_reason,
            "counted": row.status == "counted",
        }
        return Response(receipt, status=201)

    @extend_schema(responses={200: AssignmentOut} | refusals(403, 404, 409))
    @submit.mapping.delete
    def undo(self, request: Request, pk: str) -> Response:
        """Take back what was said while it is fresh; the task is mine again."""
        assignment = feedback.undo(assignment=find(self.get_queryset(), pk, "assignment"), by=request.user)
        return Response(AssignmentOut(assignment).data)

    @extend_schema(request=Skip, responses={200: AssignmentOut} | refusals(400, 403, 404, 409, 410))
    @action(detail=True, methods=["post"])
    def skip(self, request: Request, pk: str) -> Response:
        """Put the task aside, with a reason."""
        given = Skip(data=request.data)
        given.is_valid(raise_exception=True)
        assignment = find(self.get_queryset(), pk, "assignment")
        assignments.skip(assignment=assignment, by=request.user, reason=given.validated_data["reason"])
        return Response(AssignmentOut(assignment).data)

    @extend_schema(request=None, responses={200: AssignmentOut} | refusals(403, 404, 409))
    @action(detail=True, methods=["post"])
    def again(self, request: Request, pk: str) -> Response:
        """Take up a task whose time ran out, if nobody else has been given its place."""
        assignment = find(self.get_queryset(), pk, "assignment")
        return Response(AssignmentOut(assignments.again(assignment=assignment, by=request.user)).data)


def _shown(assignment: Assignment, pk: int) -> Completion:
    for completion in assignment.completions:
        if completion.pk == pk:
            return completion
    raise Refused(400, edited_from="That answer is not part of this task; name one of those shown, or none.")
