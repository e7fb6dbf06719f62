"""Datasets: what would go in, freeze, list, read, download."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find, find_project, of_project, of_values
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, Choice, Id, Input, refusals
from annotate.core.asgi.downloads import download
from annotate.core.permissions import projects_where
from annotate.data.datasets.freezing import cancel_freeze, order_freeze
from annotate.data.datasets.frozen_exports import FORMATS, export_file
from annotate.data.datasets.selections import FROZEN_KINDS, select
from annotate.data.exports.actions import FILES
from annotate.data.exports.api import FILE_TYPES
from annotate.models import AnnotatorKind, Dataset, DatasetFreeze, Split


class Ids(serializers.ListField):
    child = Id()


class SelectionIn(Input):
    project = serializers.SlugField(max_length=50)
    kind = Choice(FROZEN_KINDS)
    side = Choice(Split.choices, required=False, help_text="eval only for prompts")
    judge = Choice(AnnotatorKind.choices, required=False, help_text="Whose feedback; a dataset has one kind only.")
    categories = serializers.ListField(child=serializers.CharField(allow_blank=True), required=False)
    sources = serializers.ListField(child=serializers.CharField(allow_blank=True), required=False)
    ratings = Ids(required=False, help_text="These alone.")
    comparisons = Ids(required=False, help_text="These alone.")
    demonstrations = Ids(required=False, help_text="These alone.")
    spans = Ids(required=False, help_text="These alone.")
    edits = serializers.BooleanField(
        required=False, help_text="preferences: include edited answers, as better than the original."
    )
    per_prompt = serializers.IntegerField(required=False, help_text="sft: best-rated answers of each prompt; 0: none.")
    minimum = serializers.FloatField(required=False, help_text="sft: the lowest score of an answer, 0 to 1.")
    whole_answers = serializers.BooleanField(required=False, help_text="sft: leave out those cut off by length.")
    limit = serializers.IntegerField(required=False, help_text="prompts: the maximum number.")


class NewDataset(SelectionIn):
    name = serializers.CharField(max_length=120)


class DatasetOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    runs = serializers.SerializerMethodField(help_text="Runs that used it.")

    class Meta:
        model = Dataset
        fields = (
            "id",
            "project",
            "name",
            "kind",
            "side",
            "judge",
            "content_hash",
            "counts",
            "runs",
            "created_at",
            "erased_person_at",
        )

    def get_runs(self, dataset: Dataset) -> list[int]:
        return sorted(run.pk for runs in (dataset.runs, dataset.other_runs) for run in runs.all())  # type: ignore[attr-defined]


class FreezeOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    percent = serializers.IntegerField(read_only=True)

    class Meta:
        model = DatasetFreeze
        fields = (
            *("id", "project", "name", "kind", "side", "judge", "state", "stage", "percent", "problem", "dataset"),
            *("created_at", "started_at", "finished_at"),
        )


class CountsOut(serializers.Serializer):
    counts = serializers.DictField(help_text="What would be in the dataset now, and what would be left out and why.")


class Datasets(DeclaredViewSet):
    """Read and freeze datasets of the projects that you may see; their rows are for those who may review."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "account, read",
        "create": "research",
        "preview": "research",
        "export": "review",
    }

    queryset = Dataset.objects.none()
    serializer_class = DatasetOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[Dataset]:
        visible = Dataset.objects.filter(project__in=projects_where(self.request.user, "read"))
        return visible.select_related("project").prefetch_related("runs", "other_runs")

    @extend_schema(
        responses=DatasetOut(many=True), parameters=[PROJECT, OpenApiParameter("kind", enum=Dataset.Kind.values)]
    )
    def list(self, request: Request) -> Response:
        rows = of_values(of_project(self.get_queryset(), request), request, "kind")
        return self.get_paginated_response(DatasetOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(responses={200: DatasetOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(DatasetOut(find(self.get_queryset(), pk, "dataset")).data)

    @extend_schema(
        request=NewDataset,
        responses={201: DatasetOut, 202: FreezeOut} | refusals(400, 403, 404, 409),
        parameters=[IDEMPOTENCY_KEY],
    )
    @idempotent(atomic=False)  # it reads feedback and writes files; a name that is taken is refused
    def create(self, request: Request) -> Response:
        """Freeze counted feedback of one kind of annotator in the train split, or prompts of either side.

        A large dataset, of a project with more than 5,000 rows, is frozen by the background worker: the answer is 202
        with the order, to be followed at `dataset-freezes/{id}/` from `queued` to `done`.
        """
        made = order_freeze(by=request.user, **_read(NewDataset, request))
        if isinstance(made, Dataset):
            return Response(DatasetOut(made).data, status=201)
        return Response(FreezeOut(made).data, status=202)

    @extend_schema(request=SelectionIn, responses={200: CountsOut} | refusals(400, 403, 404))
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """Show what would go in, without freezing it."""
        fields = _read(SelectionIn, request)
        self.require_role(fields["project"])
        selection = select(**fields)
        counts = dict(selection.counts)
        if any(selection.sources.values()):
            counts.pop("empty", None)  # else it says why nothing would go in, and what to do about it
        return Response({"counts": counts})

    @extend_schema(
        responses=FILE_TYPES | refusals(400, 403, 404, 410),
        parameters=[
            OpenApiParameter("format", enum=FORMATS, description="By default jsonl."),
            OpenApiParameter("file", enum=[*FILES], description="By default jsonl."),
        ],
    )
    @action(detail=True, methods=["get"])
    def export(self, request: Request, pk: str) -> HttpResponseBase:
        """Stream the rows: as JSON lines unless `file` says otherwise."""
        dataset = find(self.get_queryset(), pk, "dataset")
        self.require_role(dataset.project)
        format_ = request.query_params.get("format", "jsonl")
        export = export_file(dataset, format_, request.query_params.get("file", "jsonl"), by=request.user)
        return download(request._request, export.parts, name=export.name, content_type=export.content_type)


class DatasetFreezes(DeclaredViewSet):
    """Follow datasets that the background worker freezes, in the projects where you are a researcher or a manager."""

    rights: ClassVar = {"list": "account", "retrieve": "research", "cancel": "research"}

    queryset = DatasetFreeze.objects.none()
    serializer_class = FreezeOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[DatasetFreeze]:
        projects = projects_where(self.request.user, "research")
        return DatasetFreeze.objects.filter(project__in=projects).select_related("project")

    @extend_schema(responses=FreezeOut(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        return self.get_paginated_response(FreezeOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(responses={200: FreezeOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(FreezeOut(find(self.get_queryset(), pk, "freeze")).data)

    @extend_schema(request=None, responses={200: FreezeOut} | refusals(403, 404, 409))
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel it: no dataset comes of it."""
        return Response(FreezeOut(cancel_freeze(find(self.get_queryset(), pk, "freeze"), by=request.user)).data)


def _read(form: type[Input], request: Request) -> dict[str, Any]:
    form_data = form(data=request.data)
    form_data.is_valid(raise_exception=True)
    fields = dict(form_data.validated_data)
    return {**fields, "project": find_project(request.user, fields["project"])}
