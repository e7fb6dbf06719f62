"""Assignments: the next task for me, what I say about it, and taking that back. No answer here names a model."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet, allows
from annotate.core.api.idempotency import Work, feedback_key, idempotent, key_of
from annotate.core.api.lookup import find, find_project
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, LARGEST_ID, refusals
from annotate.core.db.prepared import Asked, Prepared, Slot
from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling import flagging as flags
from annotate.labelling.assignment_serializers import (
    Ask,
    AssignmentOut,
    FlagIn,
    FlagSeen,
    Receipt,
    ReceiptAndNext,
    Skip,
    Submission,
)
from annotate.labelling.forms.submission_facts import Facts, assignments_with_facts, facts_in, own_with_facts
from annotate.labelling.going_on import Step, draw_next, store_and_draw
from annotate.models import Assignment, Completion
from annotate.models.feedback import Feedback
from common.whole_numbers import row_id


@extend_schema(
    request=Ask,
    responses={200: AssignmentOut, 204: OpenApiResponse(description="There is nothing to annotate at the moment.")}
    | refusals(400, 403, 404),
)
@allows(post="judge")  # nothing is asked as often: `next_for` finds out whether they may
def next_assignment(request: Request, slug: str) -> Response:
    """Return the next task for me: the one in my hands, else a new one."""
    serializer = Ask(data=request.data)
    serializer.is_valid(raise_exception=True)
    project = find_project(request.user, slug)
    assignment = assignments.next_for(project=project, user=request.user, kind=serializer.validated_data["kind"])
    if assignment is None:
        return Response(status=204)
    return Response(AssignmentOut(assignment).data)


class Assignments(DeclaredViewSet):
    """Read, submit and undo the tasks that were handed to me."""

    rights: ClassVar = {
        "retrieve": "mine",
        "submit": "mine",
        "revise": "mine",
        "undo": "mine",
        "skip": "mine",
        "flag": "mine",
        "unflag": "mine",
        "again": "mine",
    }

    queryset = Assignment.objects.none()
    serializer_class = AssignmentOut

    def questions_with_token(self, request: Request, secret_hash: str) -> list[Asked]:
        """Ask for the task that is submitted together with its sender, whose it must be."""
        number = row_id(self.kwargs.get("pk", ""))
        if self.action != "submit" or not 0 < number <= LARGEST_ID:
            return []
        try:
            return [own_with_facts.asked(pk=number, key=key_of(request) or "", secret_hash=secret_hash)]
        except Refused:  # the key is wrong, which `idempotent` says
            return []

    @extend_schema(responses={200: AssignmentOut} | refusals(403, 404))
    def retrieve(self, request: Request, pk: str) -> Response:
        assignment = _find(request, pk)
        assignment_lifecycle.require_owner(assignment, request.user)
        return Response(AssignmentOut(assignment).data)

    @extend_schema(
        request=Submission,
        responses={201: ReceiptAndNext} | refusals(400, 403, 404, 409, 410, 413),
        parameters=[
            IDEMPOTENCY_KEY,
            OpenApiParameter("next", bool, description="1: also return the next task."),
            OpenApiParameter("kind", enum=Assignment.Kind.values, description="With next: only a task of this kind."),
        ],
    )
    @action(detail=True, methods=["post"])
    @idempotent(checks_first=True, looks_first=False)
    def submit(self, request: Request, pk: str) -> Work:
        """Send the annotation. Sent again with the same Idempotency-Key, it is stored once."""
        # Read again where it is checked again.
        (rows,) = vars(request).pop("answered_with_token", [[]])
        assignment = _of_asker(request, rows[0] if rows else _find_with_facts(request, pk))
        submission = _submission_of(request, assignment)
        goes_on = request.query_params.get("next") in ("1", "true")
        store = feedback.prepare(assignment=assignment, by=request.user, goes_on=goes_on, **submission)
        draw = draw_next(assignment, request.user, request.query_params.get("kind"))

        def store_and_go_on() -> Response:
            if not goes_on:
                return Response(_receipt(store()), status=201)
            step = store_and_draw(store, draw)
            return Response(_receipt(step.row) | _next(step, facts_in(assignment)), status=201)

        return store_and_go_on

    @extend_schema(
        request=Submission,
        responses={200: Receipt} | refusals(400, 403, 404, 409, 413),
        parameters=[IDEMPOTENCY_KEY],
    )
    @submit.mapping.put
    @idempotent()
    def revise(self, request: Request, pk: str) -> Response:
        """Say something else, while the project lets it be changed: what was said before is withdrawn."""
        assignment = _find(request, pk)
        row = feedback.revise(assignment=assignment, by=request.user, **_submission_of(request, assignment))
        return Response(_receipt(row))

    @extend_schema(responses={200: AssignmentOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @submit.mapping.delete
    @idempotent()
    def undo(self, request: Request, pk: str) -> Response:
        """Take back what was said while it is fresh; the task is mine again."""
        assignment = feedback.undo(assignment=_find(request, pk), by=request.user)
        return Response(AssignmentOut(assignment).data)

    @extend_schema(
        request=Skip,
        responses={200: AssignmentOut} | refusals(400, 403, 404, 409, 410),
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def skip(self, request: Request, pk: str) -> Response:
        """Put the task aside, with a reason."""
        serializer = Skip(data=request.data)
        serializer.is_valid(raise_exception=True)
        assignment = _find(request, pk)
        assignment_lifecycle.skip(assignment=assignment, by=request.user, reason=serializer.validated_data["reason"])
        return Response(AssignmentOut(assignment).data)

    @extend_schema(
        request=FlagIn,
        responses={201: FlagSeen} | refusals(400, 403, 404, 409, 413),
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def flag(self, request: Request, pk: str) -> Response:
        """Tell the reviewers that something is wrong with it. The task stays mine."""
        flag_in = FlagIn(data=request.data)
        flag_in.is_valid(raise_exception=True)
        assignment = _find(request, pk)
        assignment_lifecycle.require_owner(assignment, request.user)
        fields = dict(flag_in.validated_data)
        if fields["completion"] is not None:
            fields["completion"] = _shown(assignment, fields["completion"], "completion")
        raised = flags.flag(assignment=assignment, by=request.user, **fields)
        return Response(FlagSeen(raised).data, status=201)

    @extend_schema(request=None, responses={204: None} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @flag.mapping.delete
    @idempotent()
    def unflag(self, request: Request, pk: str) -> Response:
        """Take my flags of the task back; they stay as withdrawn."""
        flags.take_back(assignment=_find(request, pk), by=request.user)
        return Response(status=204)

    @extend_schema(request=None, responses={200: AssignmentOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    @idempotent()
    def again(self, request: Request, pk: str) -> Response:
        """Take up a task whose time ran out, if nobody else has been given its place."""
        assignment = _find(request, pk)
        return Response(AssignmentOut(assignment_lifecycle.again(assignment=assignment, by=request.user)).data)


_related = ("project", "prompt", "completion_a", "completion_b")
_assignments = Prepared(lambda: Assignment.objects.select_related(*_related).filter(pk=Slot("pk")))


def _find(request: Request, pk: str) -> Assignment:
    return _of_asker(request, find(_assignments, pk, "assignment"))


def _find_with_facts(request: Request, pk: str) -> Any:
    return find(assignments_with_facts, pk, "assignment", key=key_of(request) or "")


def _of_asker(request: Request, assignment: Assignment) -> Assignment:
    if assignment.user_id == request.user.pk:
        assignment.user = request.user  # at hand already
    return assignment


def _submission_of(request: Request, assignment: Assignment) -> dict[str, Any]:
    """Return the body in the action's words. Whose task it is is checked first: others learn nothing of it from a
    refusal."""
    assignment_lifecycle.require_owner(assignment, request.user)
    submission = Submission(data=request.data)
    submission.is_valid(raise_exception=True)
    fields = {name: value for name, value in submission.validated_data.items() if value is not None}
    if "edited_from" in fields:
        fields["edited_from"] = _shown(assignment, fields["edited_from"], "edited_from")
    if "spans" in fields:
        fields["spans"] = [dict(span) for span in fields["spans"]]
    return {**fields, "idempotency_key": feedback_key(request)}


def _receipt(row: Feedback) -> dict[str, Any]:
    return {
        "kind": row._meta.model_name,
        "id": row.pk,
        "assignment": row.assignment_id,
        "status": row.status,
        "status_reason": row.status_reason,
        "counted": row.status == "counted",
    }


def _next(step: Step, facts: Facts) -> dict[str, Any]:
    """Return the next task, or None and why."""
    if step.refused:
        return {"next": None, "next_errors": step.refused.errors}
    context = {"has_scales": facts.has_scales}
    return {"next": AssignmentOut(step.following, context=context).data if step.following else None}


def _shown(assignment: Assignment, pk: int, field: str) -> Completion:
    for completion in assignment.completions:
        if completion.pk == pk:
            return completion
    raise Refused(400, **{field: "That answer is not part of this task; use one of the task's answers, or none."})
