"""Add the first rows of a dataset on the Hugging Face hub: frozen as a dataset, or imported into a project."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find_project
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Input, refusals
from annotate.core.asgi import waiting
from annotate.data.add_data import hub_files
from annotate.data.add_data.drafts import Draft
from annotate.data.imports.actions import FORMATS, Order, start_import_of
from annotate.data.imports.api import FileImportOut
from annotate.data.rows.hub_tasks import KNOWN, HubTask
from annotate.data.rows.task_families import TASKS
from annotate.data.uploads.actions import upload
from annotate.data.uploads.api import RowsUploaded, uploaded_body
from annotate.data.uploads.uploaded_rows import KINDS
from annotate.models import AnnotatorKind, Project


class HubRows(Input):
    project = serializers.SlugField(max_length=50)
    hub = serializers.CharField(
        max_length=200,
        help_text="owner/name or owner/name:config of a public dataset, or a known name: glue/sst2.",
    )
    split = serializers.CharField(required=False, default="train", max_length=100)
    rows = serializers.IntegerField(
        required=False,
        default=hub_files.ROWS,
        min_value=1,
        max_value=hub_files.MOST_ROWS,
        help_text="How many rows.",
    )
    columns = serializers.DictField(
        child=serializers.CharField(max_length=200),
        required=False,
        help_text='Names here, and those of the dataset: {"text": "sentence"}. A known dataset brings its own.',
    )


class HubDataset(HubRows):
    kind = Choice(KINDS)
    name = serializers.CharField(max_length=120)
    task = Choice(TASKS, required=False, help_text="labelled: the task; by default detected from the columns.")
    labels = serializers.DictField(
        child=serializers.CharField(max_length=200), required=False, help_text='{"0": "negative", "1": "positive"}'
    )
    skip_bad = serializers.BooleanField(required=False, default=False, help_text="Leave out rows that cannot be used.")


class HubImport(HubRows):
    source = serializers.CharField(
        required=False,
        max_length=60,
        help_text="Names the import; a second import with the same source adds only new rows.",
    )
    format = Choice(FORMATS, required=False, default="auto", help_text="auto: detected from the first rows.")
    judge = Choice(AnnotatorKind.choices, required=False, help_text="Who annotated: people, or a program (simulation).")
    dry_run = serializers.BooleanField(required=False, default=False, help_text="Only report what the import would do.")


def _fetched(request: Request, fields: dict[str, Any]) -> tuple[Project, Draft]:
    project = find_project(request.user, fields["project"])
    with waiting.aside_in_thread(f"user:{request.user.pk}"):
        order = {"split": fields["split"], "rows": str(fields["rows"])}
        return project, hub_files.fetch(fields["hub"], **order, project=project, by=request.user)


@extend_schema(
    request=HubDataset,
    responses={200: RowsUploaded, 201: RowsUploaded} | refusals(400, 403, 404, 409, 413, 504),
    parameters=[IDEMPOTENCY_KEY],
)
@allows(post="research")
@idempotent(atomic=False)  # a hub must not hold the database's one writer
def hub_dataset(request: Request) -> Response:
    """Freeze the first rows of a dataset on the hub, as `POST datasets/upload/` does with a file."""
    fields = HubDataset.read(request)
    project, draft = _fetched(request, fields)
    known = KNOWN.get(fields["hub"], HubTask("")) if fields["kind"] == "labelled" else HubTask("")
    with draft.path.open("rb") as file:
        uploaded = upload(
            project=project,
            by=request.user,
            file=file,
            file_name=draft.file.name,
            kind=fields["kind"],
            name=fields["name"],
            task=fields.get("task") or known.task,
            columns={**known.columns, **fields.get("columns", {})},
            labels={**known.labels, **fields.get("labels", {})},
            skip_bad=fields["skip_bad"],
        )
    return Response(uploaded_body(uploaded), status=201 if uploaded.is_new else 200)


@extend_schema(
    request=HubImport,
    responses={201: FileImportOut} | refusals(400, 403, 404, 409, 413, 504),
    parameters=[IDEMPOTENCY_KEY],
)
@allows(post="research")
@idempotent(atomic=False)
def hub_import(request: Request) -> Response:
    """Import the first rows of a dataset on the hub, as `POST imports/` does with a file: follow its `state`."""
    fields = HubImport.read(request)
    project, draft = _fetched(request, fields)
    order = Order(
        source=fields.get("source", "") or draft.file.name[:60],
        format=fields["format"],
        columns=fields.get("columns", {}),
        judge=fields.get("judge", ""),
        dry_run=fields["dry_run"],
    )
    import_ = start_import_of(draft.file, project=project, order=order, by=request.user)
    return Response(FileImportOut(import_).data, status=201)
