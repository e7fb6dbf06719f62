"""For reviewers: disagreements, deciding them, sending back; prompts that people complain about; what comes next."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows, in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import projects_where
from annotate.data.prompts import retirement
from annotate.labelling.adjudication import actions as adjudication
from annotate.labelling.adjudication import disagreements
from annotate.labelling.assignment_serializers import AssignmentOut
from annotate.labelling.queue import priorities, quarantine
from annotate.labelling.queue.assigned_items import WRITE
from annotate.models import AnnotatorKind, Assignment, Project


class SaidOut(serializers.Serializer):
    assignment = serializers.IntegerField(source="assignment.pk")
    judge = serializers.CharField(source="assignment.user.username")
    said = serializers.CharField(source="words")
    comment = serializers.CharField()
    seconds = serializers.FloatField(allow_null=True)


class DisagreementOut(serializers.Serializer):
    item = serializers.CharField()
    kind = serializers.CharField()
    prompt = serializers.IntegerField(source="prompt.pk")
    judges = serializers.IntegerField()
    reason = serializers.CharField()


class AdjudicatedItemOut(serializers.Serializer):
    item = serializers.CharField()
    completions = serializers.ListField(child=serializers.IntegerField(), help_text="The first is A.")
    said = SaidOut(many=True)


class Take(Input):
    item = serializers.CharField(max_length=140, help_text="The key from disagreements/.")


class SendBack(Input):
    comment = serializers.CharField(allow_blank=True, help_text="The annotator sees it beside the item.")


class Decision(Input):
    decision = Choice(["out", "keep"])
    reason = serializers.CharField(required=False, allow_blank=True, default="")


class ComplaintOut(serializers.Serializer):
    prompt = serializers.IntegerField(source="prompt.pk")
    is_out = serializers.BooleanField()
    reason = serializers.CharField(source="prompt.out_reason")
    skips = serializers.IntegerField()
    flags = serializers.ListField(child=serializers.CharField())


class ComingOut(serializers.Serializer):
    kind = serializers.CharField()
    prompt = serializers.IntegerField(source="prompt_id")
    item = serializers.CharField(help_text="Empty: the least annotated of its items.")
    why = serializers.CharField()


@extend_schema(
    responses={200: DisagreementOut(many=True)} | refusals(400, 403, 404),
    parameters=[OpenApiParameter("judge", enum=AnnotatorKind.values)],
)
@in_project(get="review")
def project_disagreements(request: Request, project: Project) -> Response:
    """List items on which annotators disagree and that nobody has decided, for reviewers.

    At most 50, the newest first; in a project with more than 50,000 annotations, those among the newest 20,000.
    """
    judge = request.query_params.get("judge", AnnotatorKind.PERSON)
    if judge not in AnnotatorKind.values:
        raise Refused(400, judge=f"{judge!r} is unknown; use one of {', '.join(AnnotatorKind.values)}.")
    return Response(DisagreementOut(disagreements.waiting(project, judge=judge), many=True).data)


@extend_schema(responses={200: AdjudicatedItemOut} | refusals(403, 404))
@in_project(get="review")
def judged_item(request: Request, project: Project, item: str) -> Response:
    """Return what each annotator said of an item, for reviewers."""
    # What was written has no answers to set side by side: its key names a prompt.
    if item.startswith(f"{WRITE}:") or "\x00" in item or not adjudication.judged_by(project, item).exists():
        raise Refused(404, item=f"Nobody has annotated {item[:60]!r} here; disagreements/ lists the items.")
    answers = disagreements.answers_of(item)
    letters = {answer.pk: "ABCDEF"[index] for index, answer in enumerate(answers[:6])}
    annotations = disagreements.answers_to(project, item, letters)
    return Response(AdjudicatedItemOut({"item": item, "completions": list(letters), "said": annotations}).data)


@extend_schema(request=Take, responses={200: AssignmentOut} | refusals(400, 403, 404, 409))
@in_project(post="review")
def take(request: Request, project: Project) -> Response:
    """Take the item as a task of mine: its submission replaces what its annotators said."""
    assignment = adjudication.take(project=project, key=Take.read(request)["item"], by=request.user)
    return Response(AssignmentOut(assignment).data)


@extend_schema(
    request=SendBack, responses={200: AssignmentOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
)
@allows(post="review")
@idempotent()
def send_back(request: Request, pk: str) -> Response:
    """Withdraw one annotation and give its item back to its annotator, with a comment."""
    comment = SendBack.read(request)["comment"]
    rows = Assignment.objects.filter(project__in=projects_where(request.user, "review"))
    assignment = find(rows.select_related("project", "user", "prompt"), pk, "assignment")
    return Response(AssignmentOut(adjudication.send_back(assignment=assignment, by=request.user, comment=comment)).data)


@extend_schema(responses={200: ComplaintOut(many=True)} | refusals(403, 404))
@in_project(get="review")
def complaints(request: Request, project: Project) -> Response:
    """List prompts that were quarantined or flagged, and that no reviewer has decided about."""
    return Response(ComplaintOut(quarantine.waiting(project), many=True).data)


@extend_schema(
    request=Decision, responses={200: ComplaintOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
)
@in_project(post="review")
@idempotent()
def decide_prompt(request: Request, project: Project, pk: str) -> Response:
    """Take a prompt out of the work for good, or keep it."""
    fields = Decision.read(request)
    prompt = find(project.prompts.select_related("project"), pk, "prompt")
    takes_out = fields["decision"] == "out"
    decided = retirement.decide(prompt=prompt, by=request.user, take_out=takes_out, reason=fields["reason"])
    return Response(ComplaintOut(quarantine.Complaint(decided, 0, ())).data)


@extend_schema(
    responses={200: ComingOut(many=True)} | refusals(403, 404),
)
@in_project(get="manage")
def coming_next(request: Request, project: Project) -> Response:
    """List what people are asked first, and why, for managers."""
    return Response(ComingOut(priorities.coming_next(project), many=True).data)
