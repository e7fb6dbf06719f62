"""Invite many people at once, and follow a batch, for programs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.core.errors import Refused
from annotate.models import Project, Role
from annotate.projects.bulk_invitations import actions, address_lists, present
from annotate.projects.member_languages import LANGUAGES

BATCH = OpenApiParameter("batch", str, description="The name of a batch; empty for invitations without one.")


class Person(Input):
    email = serializers.CharField(max_length=300)
    role = serializers.CharField(max_length=40, required=False, default="")
    language = serializers.CharField(max_length=200, required=False, allow_blank=True, default="", help_text=LANGUAGES)
    batch = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class NewInvitations(Input):
    people = serializers.ListField(child=Person(), min_length=1, max_length=address_lists.MOST_LINES)
    role = Choice(Role.choices, required=False, default=Role.ANNOTATOR)
    language = serializers.CharField(max_length=200, required=False, allow_blank=True, default="", help_text=LANGUAGES)
    batch = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")
    leave_out_wrong = serializers.BooleanField(required=False, default=False)
    dry_run = serializers.BooleanField(required=False, default=False, help_text="Only check the list.")


class WrongLine(serializers.Serializer):
    line = serializers.IntegerField(help_text="Its place in `people`, from 1.")
    field = serializers.CharField()
    problem = serializers.CharField()


class InvitationsMade(serializers.Serializer):
    invited = serializers.IntegerField()
    wrong = WrongLine(many=True)


class BatchAction(Input):
    batch = serializers.CharField(max_length=200, allow_blank=True)
    action = Choice(["send again", "withdraw"])


class BatchOut(serializers.Serializer):
    name = serializers.CharField()
    people = serializers.IntegerField()
    accepted = serializers.IntegerField()
    opened = serializers.IntegerField(help_text="Not accepted yet.")
    withdrawn = serializers.IntegerField()
    expired = serializers.IntegerField()
    to_send = serializers.IntegerField(help_text="Mails that wait or are being sent.")
    failed = serializers.IntegerField(help_text="Mails that the mail server refused, or that may not have arrived.")
    open = serializers.IntegerField()


class LinkOut(serializers.Serializer):
    email = serializers.CharField()
    role = serializers.CharField()
    link = serializers.CharField()


@extend_schema(
    request=NewInvitations,
    responses={201: InvitationsMade} | refusals(400, 403, 404, 409, 413, 429),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(post="manage")
@idempotent()
def invite_many(request: Request, project: Project) -> Response:
    """Invite a list of people. Where one line is wrong nobody is invited, unless wrong lines are left out."""
    order = NewInvitations.read(request)
    lines = [_line(number, person, order) for number, person in enumerate(order["people"], start=1)]
    preview = actions.preview_lines(project=project, by=request.user, lines=lines)
    if order["dry_run"]:
        return Response(_answer(len(preview.right), preview))
    if preview.wrong and not order["leave_out_wrong"]:
        raise Refused(400, **_by_field(preview.wrong))
    made = actions.send(project=project, by=request.user, right=preview.right)
    return Response(_answer(len(made), preview), status=201)


@extend_schema(methods=["GET"], responses={200: BatchOut(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=BatchAction,
    responses={200: BatchOut(many=True)} | refusals(400, 403, 404, 409, 429),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(get="manage", post="manage")
def batches(request: Request, project: Project) -> Response:
    """List the batches of invitations with what became of them; send one again, or take back what nobody accepted."""
    if request.method == "POST":
        return _act(request, project)
    return Response(BatchOut(present.batches_of(project), many=True).data)


@idempotent()
def _act(request: Request, project: Project) -> Response:
    form = BatchAction.read(request)
    act = actions.withdraw if form["action"] == "withdraw" else actions.send_again
    act(project=project, by=request.user, batch=form["batch"].replace("\x00", ""))
    return Response(BatchOut(present.batches_of(project), many=True).data)


@extend_schema(responses={200: LinkOut(many=True)} | refusals(403, 404), parameters=[BATCH])
@in_project(get="manage")
def links(request: Request, project: Project) -> Response:
    """List the links of a batch's open invitations, to be handed over."""
    batch = request.query_params.get("batch", "").replace("\x00", "")
    told = actions.links(project=project, by=request.user, batch=batch)
    return Response([{"email": row.email, "role": row.role, "link": link} for row, link in told])


def _line(number: int, person: dict[str, str], order: dict[str, Any]) -> address_lists.Line:
    role, language, batch = (person[name].strip() or order[name] for name in ("role", "language", "batch"))
    return address_lists.Line(number, person["email"].strip(), role, language, batch)


def _answer(invited: int, preview: actions.Preview) -> dict[str, Any]:
    wrong = [
        {"line": line.number, "field": problem.field, "problem": problem.text}
        for line in preview.wrong
        for problem in line.problems
    ]
    return {"invited": invited, "wrong": wrong}


def _by_field(wrong: list[address_lists.Line]) -> dict[str, str]:
    """Return the errors as for other lists: by index, from 0, and field."""
    return {f"people.{line.number - 1}.{each.field}": each.text for line in wrong for each in line.problems}
