"""Models side by side, for programs: paired differences with intervals, tests and the correction for many."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find, find_project
from annotate.core.api.serializer_fields import refusals
from annotate.core.errors import Refused
from annotate.core.permissions import models_seen
from evaluation.measures import alignment_tax as tax
from evaluation.measures import comparison_json, comparison_request, measured_tasks, paired_comparison

_MODELS = "At least two ids, separated by commas; by default all models that were measured on the task's items."


@extend_schema(
    responses={200: OpenApiTypes.OBJECT} | refusals(400, 404),
    parameters=[
        OpenApiParameter("project", str, required=True),
        OpenApiParameter("task", str, description="The task: its name, or measure:name."),
        OpenApiParameter("models", str, description=_MODELS),
        OpenApiParameter("runs", str, description="Ids of evaluation runs instead of task and models."),
        OpenApiParameter(
            "to", enum=[measured_tasks.FIRST, measured_tasks.PARENT], description="What each model is compared with."
        ),
        OpenApiParameter("first", int, description="The model that the others are compared with."),
        OpenApiParameter("metric", str, description="The metric for parts of the task; by default the first."),
    ],
)
@allows(get="read")
def comparison(request: Request) -> Response:
    """Compare two models or more on the same items: each metric with paired differences, on all items and on unseen
    ones."""
    query = request.query_params
    if "project" not in query:
        raise Refused(400, project="Send the project: ?project=<slug>; GET projects/ lists them.")
    project = find_project(request.user, query["project"])
    if (to := query.get("to", measured_tasks.FIRST)) not in (measured_tasks.FIRST, measured_tasks.PARENT):
        raise Refused(400, to=f"{to!r} is unknown; use {measured_tasks.FIRST} or {measured_tasks.PARENT}.")
    request_ = comparison_request.read(query, project)
    if request_.task is None:
        names = ", ".join(f"{task.name} ({task.measure})" for task in request_.tasks) or "none yet"
        raise Refused(400, task=f"No model has measurements by item on this task. The tasks are: {names}.")
    runs = request_.runs or ([] if query.get("models") or query.get("runs") else request_.candidates)
    if len(runs) < 2:
        measured = ", ".join(f"{run.parent_id} ({run.parent})" for run in request_.candidates)
        raise Refused(400, models=f"Send at least two models that were measured on {request_.task.name}: {measured}.")
    runs = runs[: comparison_request.MOST_MODELS]
    return Response(
        comparison_json.as_json(paired_comparison.compare(request_.task, runs, request_.to, request_.metric))
    )


@extend_schema(
    responses={200: OpenApiTypes.OBJECT} | refusals(400, 404),
    parameters=[
        OpenApiParameter("project", str, required=True, description="The project of the evaluations and the arena.")
    ],
)
@allows(get="account, read")
def alignment_tax(request: Request, pk: str) -> Response:
    """Return a model's lineage from its base on: each figure at each stage, its change to the parent and to the
    base."""
    model = find(models_seen(request.user), pk, "model")
    if "project" not in request.query_params:
        raise Refused(400, project="Send the project: ?project=<slug>; GET projects/ lists them.")
    project = find_project(request.user, request.query_params["project"])
    return Response(tax.as_json(tax.panel(model, project)))
