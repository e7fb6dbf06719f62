"""Files of other tools: sent once, then followed while the background worker takes them in."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import action, parser_classes
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet, allows
from annotate.core.api.idempotency import idempotent
from annotate.core.api.json_parser import BoundedJSONParser
from annotate.core.api.lookup import find, find_project, of_project
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, Choice, FileField, Input, refusals
from annotate.core.asgi.downloads import json_lines
from annotate.core.large_uploads import takes_files
from annotate.core.permissions import projects_where
from annotate.core.typed_texts import named_values
from annotate.data.imports import options
from annotate.data.imports.actions import (
    FORMATS,
    Order,
    cancel_import,
    go_on,
    start_import,
)
from annotate.data.rows import row_files
from annotate.models import AnnotatorKind, Import


class ImportFile(Input):
    project = serializers.SlugField(max_length=50)
    file = FileField(
        help_text="JSON lines, a JSON list, CSV, TSV, Parquet or plain text; gzipped or not.", allow_empty_file=True
    )
    source = serializers.CharField(
        required=False,
        max_length=60,
        help_text="Names the import; by default the file's name. A second import with the same source adds only new "
        "rows.",
    )
    format = Choice(FORMATS, required=False, default="auto", help_text="auto: detected from the first rows.")
    container = Choice(
        row_files.FORMATS, required=False, default="auto", help_text="The type of the file; by default detected."
    )
    columns = serializers.CharField(
        required=False, allow_blank=True, help_text="For a plain table: prompt=question, chosen=good, rejected=bad."
    )
    judge = Choice(AnnotatorKind.choices, required=False, help_text="Who annotated: people, or a program (simulation).")
    link_models = serializers.BooleanField(
        required=False,
        help_text="Link answers to this project's models of the same name; votes change their ranks. For managers.",
    )
    dry_run = serializers.BooleanField(required=False, help_text="Only report what the import would do.")


class FileImportOut(serializers.ModelSerializer):
    project = serializers.SlugField(source="project.slug")
    dry_run = serializers.SerializerMethodField()
    counts = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="rows read; prompts, completions, comparisons, … added; already: rows that exist; bad: lines that "
        "cannot be used.",
    )

    columns = serializers.SerializerMethodField(help_text="How each column is read, from the first rows.")
    unused_columns = serializers.SerializerMethodField(help_text="Ignored columns, from the first rows.")

    class Meta:
        model = Import
        fields = (
            *("id", "project", "format", "source", "file_name", "bytes", "dry_run", "state", "lines", "position"),
            *("columns", "unused_columns"),
            *("rate", "counts", "problem", "created_at", "started_at", "finished_at"),
        )

    def get_dry_run(self, import_: Import) -> bool:
        return bool(import_.options.get("dry_run"))

    def get_columns(self, import_: Import) -> dict[str, str]:
        return options.columns_read(import_)

    def get_unused_columns(self, import_: Import) -> list[str]:
        return options.unused_columns(import_)


def _started(request: Request, fields: dict[str, Any], order: Order) -> Response:
    project, file = find_project(request.user, fields["project"]), fields["file"]
    import_ = start_import(project=project, file=file, file_name=file.name or "upload", order=order, by=request.user)
    return Response(FileImportOut(import_).data, status=201)


class PairsFile(Input):
    project = serializers.SlugField(max_length=50)
    format = Choice(["hh-rlhf"], required=False, default="hh-rlhf")
    source = serializers.CharField(
        required=False, max_length=60, help_text="Names the import; by default the file's name."
    )
    file = FileField(help_text="JSON lines, gzipped or not.", allow_empty_file=True)


@takes_files
@extend_schema(
    request={"multipart/form-data": PairsFile},
    responses={201: FileImportOut} | refusals(400, 403, 404, 413),
    parameters=[IDEMPOTENCY_KEY],
    deprecated=True,
)
@allows(post="research")
@parser_classes([MultiPartParser])
@idempotent(atomic=False, whole_body=False)  # the same file twice adds nothing twice
def import_comparisons(request: Request) -> Response:
    """Send a file of hh-rlhf pairs: what `POST imports/` does with `format=hh-rlhf`, by its older name."""
    fields = PairsFile.read(request)
    return _started(request, fields, Order(source=fields.get("source", ""), format=fields["format"]))


@takes_files
class Imports(DeclaredViewSet):
    """List imports of files into the projects in which you are a researcher or a manager."""

    rights: ClassVar = {
        "list": "account",
        "create": "research",
        "retrieve": "research",
        "cancel": "research",
        "go_on": "research",
        "problems": "research",
    }

    queryset = Import.objects.none()
    serializer_class = FileImportOut
    pagination_class = Newest
    parser_classes = [MultiPartParser, BoundedJSONParser]

    def get_queryset(self) -> QuerySet[Import]:
        return Import.objects.filter(project__in=projects_where(self.request.user, "research")).select_related(
            "project", "created_by"
        )

    @extend_schema(responses=FileImportOut(many=True), parameters=[PROJECT])
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        return self.get_paginated_response(FileImportOut(self.paginate_queryset(rows), many=True).data)

    @extend_schema(
        request={"multipart/form-data": ImportFile},
        responses={201: FileImportOut} | refusals(400, 403, 404, 409, 413),
        parameters=[IDEMPOTENCY_KEY],
    )
    @idempotent(atomic=False, whole_body=False)
    def create(self, request: Request) -> Response:
        """Send a file. It is read and written by the background worker: follow `state` from `queued` to `done`.

        The same file from the same source adds nothing twice, so that it can be sent again after any accident.
        """
        fields = ImportFile.read(request)
        order = Order(
            source=fields.get("source", ""),
            format=fields["format"],
            container=fields["container"],
            columns=named_values(fields.get("columns", ""), "columns"),
            judge=fields.get("judge", ""),
            link=fields.get("link_models", False),
            dry_run=fields.get("dry_run", False),
        )
        return _started(request, fields, order)

    @extend_schema(responses={200: FileImportOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(FileImportOut(find(self.get_queryset(), pk, "import")).data)

    @extend_schema(request=None, responses={200: FileImportOut} | refusals(403, 404, 409))
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End it after the rows under way. What was taken until then stays."""
        import_ = find(self.get_queryset(), pk, "import")
        return Response(FileImportOut(cancel_import(import_, by=request.user)).data)

    @extend_schema(request=None, responses={200: FileImportOut} | refusals(403, 404, 409, 410))
    @action(detail=True, methods=["post"], url_path="go-on")
    def go_on(self, request: Request, pk: str) -> Response:
        """Go on: after a dry run, import in earnest; after a failure or a cancellation, go on behind the last line
        taken."""
        return Response(FileImportOut(go_on(find(self.get_queryset(), pk, "import"), by=request.user)).data)

    @extend_schema(responses={(200, "application/x-ndjson"): OpenApiTypes.STR} | refusals(404))
    @action(detail=True, methods=["get"])
    def problems(self, request: Request, pk: str) -> HttpResponseBase:
        """Return the first thousand lines that could not be used, as JSON lines with line and reason."""
        import_ = find(self.get_queryset(), pk, "import")
        rows = (
            json.dumps({"line": problem.line, "reason": problem.reason}) + "\n"
            for problem in import_.problems.iterator()
        )
        return json_lines(request._request, rows, name=f"import-{import_.pk}-problems.jsonl")
