"""Serve ratings, comparisons and demonstrations: read, import in bulk, change the status."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.auto_schema import one_or_many
from annotate.core.api.bulk import read_one_or_many, written
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find, find_project, of_project
from annotate.core.api.pagination import Oldest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, Choice, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can, projects_where
from annotate.labelling.actions import SET_BY_MANAGERS, set_status
from annotate.labelling.records import serializers as rows
from annotate.models import AnnotatorKind, Comparison, Demonstration, Flag, Project, Ranking, Rating, Span, Status
from common.whole_numbers import whole_number

FILTERS = [
    PROJECT,
    OpenApiParameter("judge", enum=AnnotatorKind.values),
    OpenApiParameter("status", enum=Status.values),
    OpenApiParameter("dataset", int, description="Only what is in this dataset."),
    OpenApiParameter("prompt", int),
]


class NewStatus(Input):
    status = Choice(SET_BY_MANAGERS)
    reason = serializers.CharField()


class _Read(DeclaredViewSet):
    """Read my own rows, and everybody's in the projects where I may review."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "mine or review",
        "change_status": "manage",
    }

    table: ClassVar[type[Any]]
    pagination_class = Oldest

    def get_queryset(self) -> QuerySet:
        user = self.request.user
        own_rows = Q(author=user) if user.is_authenticated else Q(pk=None)
        reviewed = Q(project__in=projects_where(user, "review"))
        return self.table.objects.filter(own_rows | reviewed).select_related("project", "author").order_by("id")

    def out(self, found_rows: Any) -> Any:
        reviewable = set(projects_where(self.request.user, "review").values_list("pk", flat=True))
        context = {"reviewable": reviewable, "me": self.request.user.pk}
        return self.get_serializer_class()(found_rows, many=isinstance(found_rows, list), context=context).data

    @extend_schema(parameters=FILTERS)
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        for name, values in (("judge", AnnotatorKind.values), ("status", Status.values)):
            if (value := request.query_params.get(name)) is not None:
                if value not in values:
                    raise Refused(400, **{name: f"{value!r} is unknown; use one of {', '.join(values)}."})
                rows = rows.filter(**{name: value})
        for name, path in (("dataset", "datasets"), ("prompt", "prompt")):
            if (value := request.query_params.get(name)) is not None:
                number = _number(value, name)
                in_none = path == "datasets" and self.table is Flag  # a flag teaches nothing
                rows = rows.none() if in_none else rows.filter(**{path: number})
        return self.get_paginated_response(self.out(list(self.paginate_queryset(rows))))

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self.out(find(self.get_queryset(), pk, self.table.__name__.lower())))

    @extend_schema(
        request=NewStatus,
        description="Managers hold, exclude or count a row. Rows are never edited.",
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"], url_path="status")
    @idempotent()
    def change_status(self, request: Request, pk: str) -> Response:
        row = find(self.get_queryset(), pk, self.table.__name__.lower())
        if not can(request.user, "manage", row.project):
            raise Refused(403, authorization=f"Only managers of {row.project} can change the status; ask one of them.")
        set_status(rows=[row], by=request.user, **NewStatus.read(request))
        row.refresh_from_db()
        return Response(self.out(row))


class _Feedback(_Read):
    rights: ClassVar = _Read.rights | {"create": "research"}
    form: ClassVar[type[Input]]

    def create(self, request: Request) -> Response:
        fields, is_list = read_one_or_many(self.form, request.data)
        slugs = {row["project"] for row in fields}
        if len(slugs) > 1:
            raise Refused(
                400, project="All rows of a request must be in one project; send one request for each project."
            )
        return self._add(request, find_project(request.user, slugs.pop()), fields, is_list)

    @idempotent()  # what was sent is checked before: SQLite has one writer
    def _add(self, request: Request, project: Project, fields: list[dict[str, Any]], is_list: bool) -> Response:
        with written(is_list):
            created_rows = rows.add(self.table, project=project, rows=fields, by=request.user)
        output = self.out(created_rows)
        return Response(output if is_list else output[0], status=201)


def _number(value: str, name: str) -> int:
    if (number := whole_number(value, None)) is None:
        raise Refused(400, **{name: f"{value!r} is not an id; send a whole number."})
    return number


def _created(form: type[Input], output: type[serializers.Serializer]) -> Any:
    return extend_schema(
        request=one_or_many(form),
        responses={201: one_or_many(output)} | refusals(400, 403, 404, 413),
        parameters=[IDEMPOTENCY_KEY],
        description="Import one row or a list; a list is imported completely or not at all. The importer is the "
        "author.",
    )


class Ratings(_Feedback):
    queryset = Rating.objects.none()
    table, form, serializer_class = Rating, rows.RatingIn, rows.RatingOut

    @_created(rows.RatingIn, rows.RatingOut)
    def create(self, request: Request) -> Response:
        return super().create(request)


class Comparisons(_Feedback):
    queryset = Comparison.objects.none()
    table, form, serializer_class = Comparison, rows.ComparisonIn, rows.ComparisonOut

    @_created(rows.ComparisonIn, rows.ComparisonOut)
    def create(self, request: Request) -> Response:
        return super().create(request)


class Demonstrations(_Feedback):
    queryset = Demonstration.objects.none()
    table, form, serializer_class = Demonstration, rows.DemonstrationIn, rows.DemonstrationOut

    @_created(rows.DemonstrationIn, rows.DemonstrationOut)
    def create(self, request: Request) -> Response:
        return super().create(request)


class Rankings(_Read):
    queryset = Ranking.objects.none()
    table, serializer_class = Ranking, rows.RankingOut


class Spans(_Read):
    queryset = Span.objects.none()
    table, serializer_class = Span, rows.SpanOut


class Flags(_Read):
    """Read what is wrong with prompts and answers, as their annotators say."""

    queryset = Flag.objects.none()
    table, serializer_class = Flag, rows.FlagOut
