"""Evaluations through the API: start one or several alike, list and read figures, read what each item gave."""

from __future__ import annotations

from typing import ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet, allows
from annotate.core.api.idempotency import idempotent, key_of
from annotate.core.api.lookup import find, find_named, find_project, of_project, of_values
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, LARGEST_ID, PROJECT, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import projects_where
from annotate.models import Dataset, LanguageModel
from common.whole_numbers import row_id, whole_number
from evaluation.measures import evaluations
from evaluation.measures import item_store as items
from evaluation.measures.evaluations import Chosen
from evaluation.measures.item_store import NO, UNKNOWN, YES, Choice, Index
from evaluation.measures.present.shown_items import BLIND, ORDERS, may_read_figures, may_read_texts, row_for
from evaluation.models import Evaluation
from training.models import Run
from training.runs.api import queue, run_out
from training.runs.run_serializers import RunOut

MOST_ITEMS = 1000


class CleanOut(serializers.Serializer):
    """Show the same figure without the items that the training data hold; empty where nobody looked."""

    value = serializers.FloatField(required=False)
    standard_error = serializers.FloatField(required=False, allow_null=True)
    lower = serializers.FloatField(required=False, allow_null=True)
    upper = serializers.FloatField(required=False, allow_null=True)
    n = serializers.IntegerField(required=False)


class EvaluationOut(serializers.ModelSerializer):
    project = serializers.SerializerMethodField()
    model_name = serializers.CharField(source="model.name")
    opponent_name = serializers.SerializerMethodField(help_text="The opponent of a win rate.")
    clean = CleanOut(help_text="The figure without items that were seen in training.")

    class Meta:
        model = Evaluation
        fields = (
            *("id", "project", "model", "model_name", "run", "task", "group", "metric", "value", "standard_error"),
            *("lower", "upper", "n", "higher_is_better", "opponent", "opponent_name", "clean", "items_hash"),
            *("signature", "created_at"),
        )

    def get_project(self, evaluation: Evaluation) -> str | None:
        return evaluation.project.slug if evaluation.project else None

    def get_opponent_name(self, evaluation: Evaluation) -> str | None:
        return evaluation.opponent.name if evaluation.opponent else None


class Measuring(Input):
    project = serializers.SlugField(max_length=50)
    name = serializers.CharField(max_length=120)
    dataset = Id(required=False, allow_null=True, default=None)
    other_dataset = Id(
        required=False,
        allow_null=True,
        default=None,
        help_text="The dataset to measure on; by default the project's own data.",
    )
    reward_model = Id(
        required=False, allow_null=True, default=None,
        help_text="The judge of a win rate by reward; for fluency it scores the answers of both.",
    )  # fmt: skip
    config = serializers.DictField(
        required=False, default=dict, help_text='The measure and its options, such as {"measure": "choices"}.'
    )
    seed = serializers.IntegerField(required=False, default=0, min_value=0, max_value=2**63 - 1)


class NewEvaluation(Measuring):
    model = Id(help_text="The model to evaluate.")


class NewEvaluations(Measuring):
    models = serializers.ListField(child=Id(), min_length=1, max_length=evaluations.MOST_ALIKE)


class Evaluations(DeclaredViewSet):
    """List evaluations: one metric of one model each, with its error and the signature that tells how to get it
    again."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "account, read",
        "create": "research",
        "alike": "research",
    }

    queryset = Evaluation.objects.none()
    serializer_class = EvaluationOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[Evaluation]:
        is_visible = Q(project=None) | Q(project__in=projects_where(self.request.user, "read"))
        return Evaluation.objects.filter(is_visible).select_related("project", "model", "opponent")

    @extend_schema(
        responses={200: EvaluationOut(many=True)} | refusals(400, 404),
        parameters=[
            PROJECT,
            OpenApiParameter("model", int),
            OpenApiParameter("run", int),
            OpenApiParameter("task", description="The task."),
            OpenApiParameter("metric"),
            OpenApiParameter("group", description="A part of the task; empty: only the whole."),
            OpenApiParameter("standing", bool, description="Only the newest of each model, task, group and metric."),
        ],
    )
    def list(self, request: Request) -> Response:
        query_params = request.query_params
        rows = of_project(self.get_queryset(), request)
        for name in ("model", "run"):
            if (pk := query_params.get(name)) is not None:
                rows = rows.filter(**{name: row_id(pk)})
        rows = of_values(rows, request, "task", "metric", "group")
        if query_params.get("standing", "").lower() in ("true", "1"):
            rows = rows.filter(pk__in=self._standing(request).values("pk"))
        return self.get_paginated_response(EvaluationOut(self.paginate_queryset(rows), many=True).data)

    def _standing(self, request: Request) -> QuerySet[Evaluation]:
        if "project" not in request.query_params:
            raise Refused(400, project="standing=true needs a project: ?project=<slug>.")
        project = find_project(request.user, request.query_params["project"])
        return evaluations.standing(project, Chosen(groups=True))

    @extend_schema(responses={200: EvaluationOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(EvaluationOut(find(self.get_queryset(), pk, "evaluation")).data)

    @extend_schema(
        request=NewEvaluation, responses={201: RunOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @idempotent(atomic=False)  # it looks at files; `queue_run` knows the key
    def create(self, request: Request) -> Response:
        """Queue a run that evaluates a model; its figures appear here when it has ended."""
        fields = NewEvaluation.read(request)
        fields["parent"] = fields.pop("model")
        try:
            run = queue(request, {"kind": "evaluate", **fields})
        except Refused as refused:  # this address calls the parent of the run its model
            renamed = {("model" if name == "parent" else name): text for name, text in refused.errors.items()}
            raise Refused(refused.status, **renamed) from refused
        return Response(run_out(request, run), status=201)

    @extend_schema(
        request=NewEvaluations,
        responses={201: RunOut(many=True)} | refusals(400, 403, 404, 409),
        parameters=[IDEMPOTENCY_KEY],
        filters=False,
    )
    @action(detail=False, methods=["post"], pagination_class=None)
    @idempotent(atomic=False)  # it looks at files; `queue_run` knows the key
    def alike(self, request: Request) -> Response:
        """Queue a run for each of several models, with the same options on the same items; all of them or none."""
        fields = NewEvaluations.read(request)
        project = find_project(request.user, fields.pop("project"))
        self.require_role(project)  # before anything is told of models that may be others'
        ids = fields.pop("models")
        fields["models"] = [find_named(LanguageModel.objects.usable_in(project), pk, "models") for pk in ids]
        datasets = Dataset.objects.filter(project__in=projects_where(request.user, "read"))
        for name, rows in (
            ("dataset", datasets),
            ("other_dataset", datasets),
            ("reward_model", LanguageModel.objects.usable_in(project)),
        ):
            if fields[name] is not None:
                fields[name] = find_named(rows, fields[name], name)
        runs = evaluations.queue_alike(project=project, by=request.user, idempotency_key=key_of(request), **fields)
        return Response(run_out(request, runs, many=True), status=201)


class ItemOut(serializers.Serializer):
    id = serializers.CharField(help_text="The same for every model on this task.")
    hash = serializers.CharField(help_text="Hash of the question.")
    group = serializers.CharField()
    contaminated = serializers.BooleanField(allow_null=True, help_text="null: too short to check, or not checked.")
    seen_in = serializers.ListField(child=serializers.CharField(), help_text="Training files that contain it.")
    counts = serializers.DictField(
        child=serializers.ListField(child=serializers.FloatField()),
        help_text="The counts that, summed over items, give the metric.",
    )
    values = serializers.DictField(child=serializers.FloatField(allow_null=True), help_text="The metrics of this item.")
    shown = serializers.DictField(allow_null=True, help_text="The texts; null if you may not read them.")


class ItemsOut(serializers.Serializer):
    run = serializers.IntegerField()
    count = serializers.IntegerField(help_text="The number of matching items.")
    offset = serializers.IntegerField()
    items = ItemOut(many=True)


_WHICH = {"yes": YES, "no": NO, "unknown": UNKNOWN}


@extend_schema(
    responses={200: ItemsOut} | refusals(400, 403, 404),
    parameters=[
        OpenApiParameter("offset", int, description="The number of items to skip."),
        OpenApiParameter("limit", int, description=f"The maximum number, up to {MOST_ITEMS}; by default 100."),
        OpenApiParameter("group"),
        OpenApiParameter("right", enum=list(_WHICH), description="unknown: a tie, or an item without right and wrong."),
        OpenApiParameter(
            "seen", enum=list(_WHICH), description="Whether the item is in the training data of the model."
        ),
        OpenApiParameter(
            "order", enum=["worst", "best"], description="By the first metric; by default in the order of the task."
        ),
    ],
)
@allows(get="read")
def run_items(request: Request, pk: str) -> Response:
    """List what an evaluation measured, item by item, in the order of the run or by how well the model did."""
    runs = Run.objects.filter(project__in=projects_where(request.user, "read")).select_related("project")
    run = find(runs, pk, "run")
    if not may_read_figures(request.user, run):
        raise Refused(403, run=BLIND)
    try:
        index = items.index_of(run.path)
    except items.Damaged as error:
        raise Refused(409, run=str(error)) from error
    if index is None:
        raise Refused(404, run=f"Run {run.pk} has no items: it is not an evaluation, or has not ended.")
    offset, limit = _number(request, "offset", 0, LARGEST_ID), _number(request, "limit", 100, MOST_ITEMS)
    indices = items.chosen(index, _choice(request, index))
    texts = may_read_texts(request.user, run)
    rows = [_out(row, texts) for row in items.read(run.path, index, indices[offset : offset + limit])]
    body = {"run": run.pk, "count": len(indices), "offset": offset, "items": rows}
    return Response(ItemsOut(body).data)


def _out(row: items.Row, texts: bool) -> items.Row:
    values = {name: items.value_of(name, counts) for name, counts in row["counts"].items()}
    return {"hash": "", "seen_in": [], **row_for(row, texts), "values": values}


def _choice(request: Request, index: Index) -> Choice:
    query_params = request.query_params
    filters: dict[str, int | None] = {}
    for name in ("right", "seen"):
        if (value := query_params.get(name)) is not None and value not in _WHICH:
            raise Refused(400, **{name: f"{value!r} is not one of {', '.join(_WHICH)}."})
        filters[name] = _WHICH.get(query_params.get(name, ""))
    group, order = query_params.get("group", ""), query_params.get("order", "")
    if group and group not in index.groups:
        text = ", ".join(index.groups[:20]) or "it has none"
        raise Refused(400, group=f"{group!r:.120} is not a group of this run ({text}).")
    if order not in ORDERS:
        raise Refused(400, order=f"{order!r:.60} is not one of worst, best.")
    return Choice(group=group, order=order if index.metric else "", **filters)


def _number(request: Request, name: str, default: int, highest: int) -> int:
    value = request.query_params.get(name, str(default))
    number = whole_number(value, None)
    if number is None or number > highest:
        raise Refused(400, **{name: f"{value!r:.60} is not a whole number from 0 to {highest:,}."})
    return number
