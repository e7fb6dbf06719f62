"""Held votes for programs: the rate over time, the votes, and a manager's decision about them."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.models import Comparison, Project
from common.whole_numbers import whole_number
from evaluation.vote_integrity import held_votes as held_for_review

MOST = 500


class PeriodOut(serializers.Serializer):
    start = serializers.DateTimeField()
    votes = serializers.IntegerField()
    held = serializers.IntegerField(help_text="All votes that the system held, including released ones.")
    waiting = serializers.IntegerField()
    share = serializers.FloatField()
    interval = serializers.ListField(child=serializers.FloatField(), help_text="95 %, Wilson.")
    reasons = serializers.DictField(child=serializers.IntegerField())


class HeldVoteOut(serializers.ModelSerializer):
    held_for = serializers.SerializerMethodField()
    model_a = serializers.IntegerField(source="completion_a.model_id")
    model_b = serializers.IntegerField(source="completion_b.model_id")

    class Meta:
        model = Comparison
        fields = (
            *("id", "prompt", "model_a", "model_b", "winner", "author", "seconds", "comment"),
            *("held_for", "status_reason", "created_at"),
        )

    def get_held_for(self, vote: Comparison) -> str:
        trace = getattr(vote.battle, "trace", None)
        return (trace.held_for if trace else "") or held_for_review.BY_HAND


class DecisionIn(Input):
    status = Choice([(status, done) for status, done in held_for_review.DECISIONS.items()])
    reason = serializers.CharField(max_length=200)
    ids = serializers.ListField(child=Id(), required=False, max_length=held_for_review.MOST_AT_ONCE)
    held_for = Choice(
        list(held_for_review.REASONS.items()),
        required=False,
        help_text="Instead of ids: all votes that are held for this reason.",
    )


class DecidedOut(serializers.Serializer):
    changed = serializers.IntegerField()


@extend_schema(
    responses={200: PeriodOut(many=True)} | refusals(400, 403, 404),
    parameters=[OpenApiParameter("by", enum=list(held_for_review.PERIODS))],
)  # fmt: skip
@in_project(get="manage")
def held_rate(request: Request, project: Project) -> Response:
    """Count votes of the arena by hour (of two days) or day (of thirty), and how many of them were held, for a
    manager."""
    by = request.query_params.get("by") or "day"
    if by not in held_for_review.PERIODS:
        raise Refused(400, by=f"{by!r} is unknown; use one of {', '.join(held_for_review.PERIODS)}.")
    return Response(PeriodOut(held_for_review.held_rate(project, by), many=True).data)


@extend_schema(
    methods=["GET"], responses={200: HeldVoteOut(many=True)} | refusals(400, 403, 404),
    parameters=[
        OpenApiParameter("held_for", enum=list(held_for_review.REASONS)),
        OpenApiParameter("before", int, description="Only votes with a smaller id, to read the next page."),
    ],
)  # fmt: skip
@extend_schema(
    methods=["POST"], request=DecisionIn, parameters=[IDEMPOTENCY_KEY],
    responses={200: DecidedOut} | refusals(400, 403, 404, 409, 413),
)  # fmt: skip
@in_project(get="manage", post="manage")
def held_votes(request: Request, project: Project) -> Response:
    """List votes that are held for review, the latest first, 500 each. POST releases (counted) or excludes them: all or
    none."""
    if request.method == "POST":
        return _decide(request, project)
    reason = request.query_params.get("held_for") or ""
    if reason and reason not in held_for_review.REASONS:
        raise Refused(400, held_for=f"{reason!r} is unknown; use one of {', '.join(held_for_review.REASONS)}.")
    rows = held_for_review.held_votes(project, reason)
    if (before := request.query_params.get("before")) is not None:
        if (lowest := whole_number(before, None)) is None:
            raise Refused(400, before=f"{before!r} is not an id; send a whole number.")
        rows = rows.filter(pk__lt=lowest)
    return Response(HeldVoteOut(rows[:MOST], many=True).data)


@idempotent()
def _decide(request: Request, project: Project) -> Response:
    fields = DecisionIn.read(request)
    if ("ids" in fields) == ("held_for" in fields):
        raise Refused(400, ids="Send either ids or held_for, not both.")
    rows = held_for_review.held_votes(project, fields.get("held_for", ""))
    if "ids" in fields:
        rows = rows.filter(pk__in=fields["ids"])
    changed = held_for_review.decide(
        project=project, rows=rows, status=fields["status"], reason=fields["reason"], by=request.user
    )
    return Response({"changed": changed})
