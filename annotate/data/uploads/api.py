"""Turn a file of rows into a dataset by one request."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.decorators import parser_classes
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find_project
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, FileField, Input, refusals
from annotate.core.large_uploads import takes_files
from annotate.core.typed_texts import named_values
from annotate.data.datasets.api import DatasetOut
from annotate.data.rows.row_files import FORMATS
from annotate.data.rows.task_families import TASKS
from annotate.data.uploads.actions import upload
from annotate.data.uploads.uploaded_rows import KINDS, Uploaded


class RowsUpload(Input):
    project = serializers.SlugField(max_length=50)
    kind = Choice(KINDS)
    name = serializers.CharField(max_length=120)
    task = Choice(TASKS, required=False, help_text="labelled: the task; by default detected from the columns.")
    format = Choice(FORMATS, required=False, default="auto")
    columns = serializers.CharField(required=False, allow_blank=True, help_text="text=sentence, label=class")
    labels = serializers.CharField(required=False, allow_blank=True, help_text="0=negative, 1=positive")
    skip_bad = serializers.BooleanField(required=False, default=False, help_text="Leave out lines that cannot be used.")
    file = FileField(
        help_text="JSON lines, a JSON list, CSV, TSV, Parquet or plain text; gzipped or not.", allow_empty_file=True
    )


class SkippedOut(serializers.Serializer):
    line = serializers.IntegerField()
    reason = serializers.CharField()


class RowsUploaded(serializers.Serializer):
    dataset = DatasetOut()
    rows = serializers.IntegerField()
    left_out = serializers.DictField(child=serializers.IntegerField(), help_text="Kept out of training, and why.")
    skipped = SkippedOut(many=True, help_text="The first lines that could not be used.")
    skipped_count = serializers.IntegerField()
    ignored_columns = serializers.ListField(child=serializers.CharField())


@takes_files
@extend_schema(
    request={"multipart/form-data": RowsUpload},
    responses={200: RowsUploaded, 201: RowsUploaded} | refusals(400, 403, 404, 409, 413),
    parameters=[IDEMPOTENCY_KEY],
)
@allows(post="research")
@parser_classes([MultiPartParser])
@idempotent(atomic=False, whole_body=False)  # a long file must not hold the database's one writer
def upload_rows(request: Request) -> Response:
    """Freeze a file's rows: demonstrations (`sft`), labelled texts, a corpus, or a task to measure models on.

    201 with a new dataset; 200 with the standing one when these very rows are frozen already. Lines that cannot be used
    are named, and nothing is taken, unless `skip_bad` leaves them out.
    """
    fields = RowsUpload.read(request)
    project = find_project(request.user, fields.pop("project"))
    for name in ("columns", "labels"):
        fields[name] = named_values(fields.get(name, ""), name)
    file = fields.pop("file")
    uploaded = upload(project=project, by=request.user, file=file, file_name=file.name or "upload", **fields)
    return Response(uploaded_body(uploaded), status=201 if uploaded.is_new else 200)


def uploaded_body(uploaded: Uploaded) -> dict[str, Any]:
    """Return what is answered to an upload, as `RowsUploaded` says."""
    return {
        "dataset": DatasetOut(uploaded.dataset).data,
        "rows": uploaded.rows,
        "left_out": dict(uploaded.left_out),
        "skipped": [{"line": bad.line, "reason": bad.reason} for bad in uploaded.bad],
        "skipped_count": uploaded.bad_count,
        "ignored_columns": sorted(map(str, uploaded.ignored_columns)),
    }
