"""Runs: queue, list, read, cancel, resume, and what they measure while they go."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import DeclaredViewSet
from annotate.core.api.idempotency import idempotent, key_of
from annotate.core.api.lookup import find, find_named, find_project, of_project, of_values
from annotate.core.api.pagination import Newest
from annotate.core.api.serializer_fields import IDEMPOTENCY_KEY, PROJECT, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can, projects_where, require
from annotate.data.feedback_lineage import asked_in_the_arena
from annotate.models import Dataset, LanguageModel, Project
from common.splits import text_hash
from common.whole_numbers import whole_number
from training import configs
from training.models import Run
from training.runs.human_review import reviews as human_review
from training.runs.ordering import actions, checks, pauses, priorities
from training.runs.ordering import order_files as orders
from training.runs.present.run_estimates import PlannedRun, estimate
from training.runs.run_serializers import (
    Again,
    Choice,
    EstimateOut,
    MetricOut,
    NewPriority,
    NewRun,
    PlannedRunIn,
    ReviewOut,
    RunOut,
    SampleOut,
)
from training.runs.trackers import tensorboard_files

AFTER = OpenApiParameter("after", int, description="Only values after this sequence number; 0: all.")
_ROWS = 1000


class OrderParser(BaseParser):
    """Read the body as it is, a text; what it says is read by `orders`."""

    media_type = "application/yaml"

    def parse(self, stream: Any, media_type: str | None = None, context: Any = None) -> str:
        try:
            return stream.read().decode("utf-8")
        except UnicodeDecodeError:
            raise Refused(400, yaml="The body is not text in UTF-8; send the YAML of a run.") from None


class Runs(DeclaredViewSet):
    """List, queue and read runs of the projects that you may see."""

    rights: ClassVar = {
        "list": "account",
        "retrieve": "account, read",
        "create": "research",
        "estimate": "research",
        "from_yaml": "research",
        "order": "account, read",
        "cancel": "research",
        "priority": "research",
        "resume": "research",
        "again": "research",
        "choose": "research",
        "reviews": "account, read",
        "metrics": "account, read",
        "samples": "account, read",
        "tensorboard": "account, read",
    }

    queryset = Run.objects.none()
    serializer_class = RunOut
    pagination_class = Newest

    def get_queryset(self) -> QuerySet[Run]:
        return (
            Run.objects.filter(project__in=projects_where(self.request.user, "read"))
            .select_related("project")
            .prefetch_related("kept_checkpoints", "trackers")
        )

    @extend_schema(
        responses=RunOut(many=True),
        parameters=[PROJECT, OpenApiParameter("state", enum=Run.State.values), OpenApiParameter("kind")],
    )
    def list(self, request: Request) -> Response:
        rows = of_project(self.get_queryset(), request)
        rows = of_values(rows, request, "state", "kind")
        return self.get_paginated_response(run_out(request, self.paginate_queryset(rows), many=True))

    @extend_schema(responses={200: RunOut} | refusals(404))
    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(run_out(request, find(self.get_queryset(), pk, "run")))

    @extend_schema(request=NewRun, responses={201: RunOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @idempotent(atomic=False)  # it looks at files; `queue_run` knows the key
    def create(self, request: Request) -> Response:
        """Queue a run. Errors in the config are named `config.<field>`."""
        run = queue(request, NewRun.read(request))
        return Response(run_out(request, run), status=201)

    @extend_schema(request=PlannedRunIn, responses={200: EstimateOut} | refusals(400, 403, 404))
    @action(detail=False, methods=["post"], pagination_class=None)
    def estimate(self, request: Request) -> Response:
        """Estimate time and memory of a run before it is queued, by what runs like it have taken here; else
        memory is counted from the model's sizes."""
        fields = PlannedRunIn.read(request)
        project = rows_of(request, fields)
        self.require_role(project)
        checks.require_kind(fields["kind"])
        try:
            config = vars(configs.parse(fields["kind"], fields.pop("config")))
        except configs.ConfigError as error:
            raise Refused(400, **{f"config.{name}": text for name, text in error.errors.items()}) from error
        return Response(EstimateOut(estimate(PlannedRun(project=project, config=config, **fields))).data)

    @extend_schema(
        request={"application/yaml": OpenApiTypes.STR},
        responses={201: RunOut} | refusals(400, 403, 404, 409, 413),
        parameters=[IDEMPOTENCY_KEY, PROJECT],
    )
    @action(detail=False, methods=["post"], url_path="from-yaml", parser_classes=[OrderParser])
    @idempotent(atomic=False)  # it looks at files; `queue_run` knows the key
    def from_yaml(self, request: Request) -> Response:
        """Queue a run from its order as YAML. The project is the file's, unless `?project=` names another."""
        if not isinstance(request.data, str):
            raise Refused(400, body="The body is empty; send the YAML of a run, such as that of runs/ID/order/.")
        order = orders.read(request.data)
        slug = request.query_params.get("project") or order.get("project")
        if not slug:
            raise Refused(400, project="Set the project in the file, or in the address as ?project=<slug>.")
        project = find_project(request.user, slug)
        self.require_role(project)  # what models there are is told to researchers alone
        arguments = orders.resolve(order, project).arguments
        run = actions.queue_run(project=project, by=request.user, idempotency_key=key_of(request), **arguments)
        return Response(run_out(request, run), status=201)

    @extend_schema(responses={(200, "application/yaml"): OpenApiTypes.OBJECT} | refusals(404))
    @action(detail=True, methods=["get"])
    def order(self, request: Request, pk: str) -> HttpResponse:
        """Return all that the run was queued with, as YAML: what `from-yaml` takes."""
        run = find(self.get_queryset(), pk, "run")
        return HttpResponse(orders.written(run), content_type="application/yaml; charset=utf-8")

    @extend_schema(request=None, responses={200: RunOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    @idempotent()
    def cancel(self, request: Request, pk: str) -> Response:
        """End it: at once when it is queued, else as soon as its worker has stopped it."""
        return Response(run_out(request, actions.cancel(run=find(self.get_queryset(), pk, "run"), by=request.user)))

    @extend_schema(
        request=NewPriority, responses={200: RunOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY]
    )
    @action(detail=True, methods=["post"])
    @idempotent()
    def priority(self, request: Request, pk: str) -> Response:
        """Change how soon a waiting run begins. Its researchers may lower it, a manager may raise it."""
        new_priority = NewPriority.read(request)
        run = find(self.get_queryset(), pk, "run")
        return Response(run_out(request, priorities.set_priority(run=run, by=request.user, **new_priority)))

    @extend_schema(request=None, responses={200: RunOut} | refusals(403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    @idempotent(atomic=False)  # it looks at files; one that goes on already is refused
    def resume(self, request: Request, pk: str) -> Response:
        """Resume a failed or cancelled run from its last complete checkpoint. `name` has a number where somebody has
        taken the run's name since."""
        return Response(run_out(request, actions.resume(run=find(self.get_queryset(), pk, "run"), by=request.user)))

    @extend_schema(request=Again, responses={201: RunOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    @idempotent(atomic=False)  # it looks at files; `queue_run` knows the key
    def again(self, request: Request, pk: str) -> Response:
        """Queue a run like this one, with `changes`; without any, with those that are the remedy of its failure."""
        changes_form = Again.read(request)
        run = find(self.get_queryset(), pk, "run")
        run_again = actions.queue_again(run=run, by=request.user, idempotency_key=key_of(request), **changes_form)
        return Response(run_out(request, run_again), status=201)

    @extend_schema(request=Choice, responses={200: RunOut} | refusals(400, 403, 404, 409), parameters=[IDEMPOTENCY_KEY])
    @action(detail=True, methods=["post"])
    @idempotent()
    def choose(self, request: Request, pk: str) -> Response:
        """Take one of the choices of a paused run; what it changes is recorded as an amendment of the run."""
        choice = Choice.read(request)
        run = find(self.get_queryset(), pk, "run")
        return Response(run_out(request, pauses.choose(run=run, by=request.user, **choice)))

    @extend_schema(responses=ReviewOut(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def reviews(self, request: Request, pk: str) -> Response:
        """List the pairs that people were asked about: the reward model's opinion and theirs, without the texts."""
        return Response(ReviewOut(human_review.reviewed_pairs(find(self.get_queryset(), pk, "run")), many=True).data)

    @extend_schema(responses=MetricOut(many=True), parameters=[AFTER], filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def metrics(self, request: Request, pk: str) -> Response:
        """Return what was measured, in order, at most a thousand rows: ask again after the last sequence number."""
        run = find(self.get_queryset(), pk, "run")
        rows = run.metrics.filter(sequence__gt=_after(request)).order_by("sequence")[:_ROWS]
        return Response(MetricOut(rows, many=True).data)

    @extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY} | refusals(404), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def tensorboard(self, request: Request, pk: str) -> StreamingHttpResponse:
        """Return all that was measured as a file that TensorBoard reads."""
        return tensorboard_files.download(request._request, find(self.get_queryset(), pk, "run"))

    @extend_schema(responses=SampleOut(many=True), parameters=[AFTER], filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def samples(self, request: Request, pk: str) -> Response:
        """Return what the model answered as training went, in order, at most a thousand rows.

        Prompts that somebody asked in the arena are for those who may review.
        """
        run = find(self.get_queryset(), pk, "run")
        rows = list(run.samples.filter(sequence__gt=_after(request)).order_by("sequence")[:_ROWS])
        if not can(request.user, "review", run.project):
            private_hashes = asked_in_the_arena(run.project, (row.prompt for row in rows))
            rows = [row for row in rows if text_hash(row.prompt) not in private_hashes]
        return Response(SampleOut(rows, many=True).data)


def run_out(request: Request, runs: Any, *, many: bool = False) -> Any:
    """Return runs as this asker may see them."""
    reviewed, researched = (
        set(projects_where(request.user, action).values_list("pk", flat=True)) for action in ("review", "research")
    )
    return RunOut(runs, many=many, context={"reviewed": reviewed, "researched": researched}).data


def queue(request: Request, fields: dict[str, Any]) -> Run:
    """Queue the run that these checked fields ask for; ids and the slug become rows."""
    project = rows_of(request, fields)
    return actions.queue_run(project=project, by=request.user, idempotency_key=key_of(request), **fields)


def rows_of(request: Request, fields: dict[str, Any]) -> Project:
    """Turn the ids in these fields into rows, and return the project that the slug names."""
    project = find_project(request.user, fields.pop("project"))
    require(request.user, "research", project)  # before anything is told of models that may be others'
    rows: dict[str, QuerySet[Any]] = {
        "parent": LanguageModel.objects.usable_in(project),
        "reward_model": LanguageModel.objects.usable_in(project),
    }
    rows["cloned_from"] = Run.objects.filter(project__in=projects_where(request.user, "read"))
    rows["dataset"] = rows["other_dataset"] = Dataset.objects.filter(project__in=projects_where(request.user, "read"))
    for name, queryset in rows.items():
        if fields.get(name) is not None:
            fields[name] = find_named(queryset, fields[name], name)
    return project


def _after(request: Request) -> int:
    value = request.query_params.get("after", "0")
    if (number := whole_number(value, None)) is None:
        raise Refused(400, after=f"{value!r} is not a sequence number; send the last one you have, or 0.")
    return number
