"""Labelled datasets as instructions, for programs."""

from __future__ import annotations

import dataclasses
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.idempotency import idempotent
from annotate.core.api.lookup import find_all, find_project
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, Choice, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import projects_where, require
from annotate.data.datasets.api import DatasetOut
from annotate.data.rows.task_families import TASKS
from annotate.models import Dataset
from training.instructions.actions import OwnTemplate, instruct, preview
from training.instructions.mixing import Options
from training.instructions.templating import instructions_of


class TemplateIn(Input):
    task = Choice(TASKS)
    text = serializers.CharField(trim_whitespace=False, max_length=4000, help_text="prompt, a line ---, completion")


class InstructIn(Input):
    project = serializers.SlugField(max_length=50)
    datasets = serializers.ListField(child=Id(), help_text="labelled ones")
    templates = TemplateIn(many=True, required=False, help_text="your own templates, in addition to the built-in ones")
    cap = serializers.IntegerField(required=False, help_text="maximum rows of one dataset (3000)")
    limit = serializers.IntegerField(required=False, allow_null=True, help_text="maximum rows in total")
    templates_per_row = serializers.IntegerField(required=False)
    inverted_share = serializers.FloatField(required=False)
    few_shot_share = serializers.FloatField(required=False)
    most_shots = serializers.IntegerField(required=False)
    seed = serializers.IntegerField(required=False)


class NewInstructions(InstructIn):
    name = serializers.CharField(max_length=120)


class ExampleOut(serializers.Serializer):
    prompt = serializers.ListField(child=serializers.DictField())
    completion = serializers.CharField()
    template = serializers.CharField()
    frame = serializers.CharField(required=False)
    task = serializers.CharField()
    source = serializers.CharField()
    shots = serializers.IntegerField()


class PreviewOut(serializers.Serializer):
    total = serializers.IntegerField(help_text="number of examples")
    templates = serializers.DictField(child=serializers.IntegerField(), help_text="of the first rows")
    left_out = serializers.DictField(child=serializers.IntegerField())
    rows = ExampleOut(many=True)


class TemplateOut(serializers.Serializer):
    name = serializers.CharField()
    task = serializers.CharField()
    direction = serializers.CharField()
    about = serializers.CharField()
    source = serializers.CharField()


@extend_schema(
    request=NewInstructions,
    responses={200: DatasetOut, 201: DatasetOut} | refusals(400, 403, 404, 409, 410),
    parameters=[IDEMPOTENCY_KEY],
)
@allows(post="research")
@idempotent(atomic=False)
def create(request: Request) -> Response:
    """Freeze labelled datasets as an SFT dataset; 200 with the standing one when these very rows are frozen already."""
    dataset, is_new = instruct(by=request.user, **_read(NewInstructions, request))
    return Response(DatasetOut(dataset).data, status=201 if is_new else 200)


@extend_schema(request=InstructIn, responses={200: PreviewOut} | refusals(400, 403, 404, 410))
@allows(post="research")
def look(request: Request) -> Response:
    """Preview what would be made, without freezing it."""
    result = preview(**_read(InstructIn, request))
    return Response(
        {
            "total": result.total,
            "templates": dict(result.counts.by_template),
            "left_out": dict(result.counts.left_out),
            "rows": result.rows,
        }
    )


@extend_schema(responses=TemplateOut(many=True))
@allows(get="account")
def templates(request: Request) -> Response:
    """List our templates of every task."""
    rows = [
        {name: getattr(instruction, name) for name in ("name", "task", "direction", "about", "source")}
        for task in TASKS
        for instruction in instructions_of(task)
    ]
    return Response(rows)


def _read(form: type[Input], request: Request) -> dict[str, Any]:
    fields = form.read(request)
    project = find_project(request.user, fields.pop("project"))
    require(request.user, "research", project)
    ids = fields.pop("datasets")
    datasets = find_all(Dataset.objects.filter(project__in=projects_where(request.user, "research")), set(ids))
    if missing := [pk for pk in ids if pk not in datasets]:
        raise Refused(400, datasets=f"There is no dataset {missing[0]}, or you may not use it.")
    own_templates = [OwnTemplate(**template) for template in fields.pop("templates", [])]
    option_names = {f.name for f in dataclasses.fields(Options)} | {"name"}
    options = {name: value for name, value in fields.items() if name in option_names}
    return {
        "project": project,
        "datasets": [datasets[pk] for pk in dict.fromkeys(ids)],
        "templates": own_templates,
        **options,
    }
