"""My own annotations in a project, with their receipts: the twin of the history page."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import refusals
from annotate.core.errors import Refused
from annotate.labelling.actions import may_change
from annotate.labelling.forms.storage import STANDING
from annotate.labelling.history import receipt as receipts
from annotate.models import Assignment, Project, Status

PER_PAGE = 100


class PathOut(serializers.Serializer):
    """Show what it went into; a dataset that no run has used has the first alone."""

    dataset = serializers.IntegerField()
    run = serializers.IntegerField(allow_null=True)
    model = serializers.IntegerField(allow_null=True, help_text="The model that the run made.")


class MineOut(serializers.Serializer):
    kind = serializers.ChoiceField(list(receipts.TITLES))
    id = serializers.IntegerField()
    assignment = serializers.IntegerField()
    prompt = serializers.IntegerField()
    said = serializers.CharField(help_text="In words.")
    comment = serializers.CharField()
    seconds = serializers.FloatField(allow_null=True)
    status = serializers.ChoiceField(Status.choices)
    status_reason = serializers.CharField()
    counted = serializers.BooleanField()
    may_change = serializers.BooleanField(help_text="PUT or DELETE assignments/{id}/submit/ still works.")
    went_into = PathOut(many=True)
    created_at = serializers.DateTimeField()


class MinePage(serializers.Serializer):
    count = serializers.IntegerField()
    pages = serializers.IntegerField()
    results = MineOut(many=True)


@extend_schema(
    responses={200: MinePage} | refusals(400, 403, 404),
    parameters=[
        OpenApiParameter("kind", enum=list(receipts.TITLES)),
        OpenApiParameter("status", enum=Status.values),
        OpenApiParameter("page", int),
    ],
)
@in_project(get="judge")
def my_annotations(request: Request, project: Project) -> Response:
    """List what I have annotated here, newest first. Votes in the arena are read as battles."""
    kind = _checked_parameter(request, "kind", list(receipts.TITLES))
    status = _checked_parameter(request, "status", Status.values)
    pages = Paginator(receipts.row_keys(project=project, user=request.user, kind=kind, status=status), PER_PAGE)
    page = pages.get_page(request.query_params.get("page"))
    results = [_out(receipt, project) for receipt in receipts.receipts(list(page))]
    return Response({"count": pages.count, "pages": pages.num_pages, "results": results})


def _checked_parameter(request: Request, name: str, values: list[str]) -> str:
    value = request.query_params.get(name, "")
    if value and value not in values:
        raise Refused(400, **{name: f"{value!r} is unknown; use one of {', '.join(values)}."})
    return value


def _out(receipt: receipts.Receipt, project: Project) -> dict[str, Any]:
    row = receipt.row
    is_lesson = row.assignment.purpose == Assignment.Purpose.TUTORIAL  # it has told what is right
    is_open = row.assignment.state == Assignment.State.SUBMITTED and row.status in STANDING and not is_lesson
    row.assignment.project = project
    return MineOut(
        {
            **{
                name: getattr(row, name)
                for name in ("id", "comment", "seconds", "status", "status_reason", "created_at")
            },
            "kind": receipt.kind,
            "assignment": row.assignment_id,
            "prompt": row.prompt_id,
            "said": receipt.words,
            "counted": receipt.counted,
            "may_change": receipt.kind != "flag" and is_open and not receipt.went and may_change(row.assignment),
            "went_into": [
                {"dataset": dataset.pk, "run": run and run.pk, "model": model and model.pk}
                for dataset, run, model in receipt.went
            ],
        }
    ).data
