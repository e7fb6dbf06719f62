"""Serve gold items, and the pauses of those who miss too many of them, to managers' programs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.labelling.gold import actions as gold_items
from annotate.labelling.gold import scoring as gold
from annotate.models import Completion, GoldItem, Project, User


class GoldOut(serializers.ModelSerializer):
    """Show a gold item. Winners in `expected` are by `completions`: the first is model_a."""

    prompt = serializers.IntegerField(source="prompt_id")
    completions = serializers.SerializerMethodField()
    expected = serializers.DictField(child=serializers.ListField())

    class Meta:
        model = GoldItem
        fields = (
            *("id", "kind", "prompt", "completions", "expected", "explanation", "is_tutorial", "position"),
            *("created_at", "retired_at"),
        )

    def get_completions(self, item: GoldItem) -> list[int]:
        return [pk for pk in (item.completion_a_id, item.completion_b_id) if pk]


class NewGold(Input):
    item = serializers.CharField(required=False, max_length=140, help_text="compare:12:15 or rate:12; or completions.")
    completions = serializers.ListField(child=Id(), required=False, help_text="One to rate or two to compare.")
    expected = serializers.DictField(
        required=False, help_text='{"winner": ["model_a"]}; left out with an item: what people agree on.'
    )
    explanation = serializers.CharField(required=False, allow_blank=True, help_text="Markdown: why.")
    is_tutorial = serializers.BooleanField(required=False)
    position = serializers.IntegerField(required=False, min_value=0, max_value=30000)


class GoldChange(Input):
    expected = serializers.DictField(required=False)
    explanation = serializers.CharField(required=False, allow_blank=True)
    is_tutorial = serializers.BooleanField(required=False)
    position = serializers.IntegerField(required=False, min_value=0, max_value=30000)
    retired = serializers.BooleanField(required=False, help_text="true: annotators no longer get it.")


class Pause(Input):
    username = serializers.CharField(max_length=150)
    note = serializers.CharField(
        required=False, allow_blank=True, default="", help_text="The reason of a pause, or a note to the annotator."
    )
    paused = serializers.BooleanField()


class Paused(serializers.Serializer):
    username = serializers.CharField(source="user.username")
    paused_at = serializers.DateTimeField(allow_null=True)
    paused_reason = serializers.CharField()
    warned_at = serializers.DateTimeField(allow_null=True)


@extend_schema(methods=["GET"], responses={200: GoldOut(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=NewGold,
    responses={201: GoldOut} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(get="manage", post="manage")
def project_gold(request: Request, project: Project) -> Response:
    """List gold items, for managers; POST adds one."""
    if request.method == "GET":
        return Response(GoldOut(project.gold_items.all(), many=True).data)
    return _add(request, project)


@idempotent()
def _add(request: Request, project: Project) -> Response:
    return Response(GoldOut(_make(project, request, NewGold.read(request))).data, status=201)


@extend_schema(request=GoldChange, responses={200: GoldOut} | refusals(400, 403, 404, 409))
@in_project(patch="manage")
def gold_item(request: Request, project: Project, pk: str) -> Response:
    """Change what is right, why, its place; retire it. What was answered stays as it was judged."""
    item = find(project.gold_items.select_related("project", "prompt"), pk, "gold_item")
    fields = GoldChange.read(request)
    retired = fields.pop("retired", None)
    if fields:
        gold_items.change(item=item, by=request.user, **fields)
    if retired is not None:
        gold_items.retire(item=item, by=request.user, back=not retired)
    return Response(GoldOut(item).data)


@extend_schema(methods=["GET"], responses={200: Paused(many=True)} | refusals(403, 404))
@extend_schema(
    methods=["POST"],
    request=Pause,
    responses={200: Paused} | refusals(400, 403, 404, 409),
    parameters=[IDEMPOTENCY_KEY],
)
@in_project(get="manage", post="manage")
def pauses(request: Request, project: Project) -> Response:
    """List who is warned or paused, for managers; POST pauses somebody, or lets them go on with a note."""
    if request.method == "GET":
        members = project.memberships.select_related("user").order_by("pk")
        return Response(Paused([m for m in members if m.paused_at or m.warned_at], many=True).data)
    return _pause_or_lift(request, project)


@idempotent()
def _pause_or_lift(request: Request, project: Project) -> Response:
    fields = Pause.read(request)
    username, note = fields["username"], fields["note"]
    user = User.objects.filter(username=username).first()
    if user is None:
        raise Refused(400, username=f"There is no account {username!r} here; check the spelling.")
    if fields["paused"]:
        member = gold.pause(project=project, user=user, by=request.user, reason=note)
    else:
        member = gold.lift(project=project, user=user, by=request.user, note=note)
    return Response(Paused(member).data)


def _make(project: Project, request: Request, fields: dict[str, Any]) -> GoldItem:
    key, ids = fields.pop("item", None), fields.pop("completions", None)
    if bool(key) == bool(ids):
        raise Refused(400, item="Send an item such as compare:12:15, or its completions, not both.")
    if key:
        return gold_items.make_from_consensus(project=project, by=request.user, key=key, **fields)
    if "expected" not in fields:
        raise Refused(
            400,
            expected="Send the right answer; only with `item` you can leave it out and use the annotators’ agreement.",
        )
    rows = Completion.objects.filter(prompt__project=project).select_related("prompt").in_bulk(ids)
    if missing := [pk for pk in ids if pk not in rows]:
        raise Refused(400, completions=f"There is no completion {missing[0]} in {project}.")
    return gold_items.make(project=project, by=request.user, completions=[rows[pk] for pk in ids], **fields)
