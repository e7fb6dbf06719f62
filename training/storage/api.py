"""Serve what is on the disk, and what may go, to programs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find_named, find_project
from annotate.core.api.serializer_fields import PROJECT, Id, Input, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import require
from training.storage import actions, disk_usage, pruning


class PruneIn(Input):
    project = serializers.SlugField(max_length=50)
    run = Id(required=False, help_text="All checkpoints of this finished run; by default those that the rule prunes.")


class FreedOut(serializers.Serializer):
    freed = serializers.IntegerField(help_text="bytes")


class RunUseOut(serializers.Serializer):
    run = serializers.IntegerField(source="run.pk")
    state = serializers.CharField(source="run.state")
    checkpoints = serializers.IntegerField()
    model = serializers.IntegerField()
    kept = serializers.IntegerField(help_text="Kept checkpoints, which are models, too.")
    rest = serializers.IntegerField(help_text="Logs and data.")


class ModelUseOut(serializers.Serializer):
    model = serializers.IntegerField(source="model.pk")
    size = serializers.IntegerField()


class DiskOut(serializers.Serializer):
    """Show sizes of files, all in bytes."""

    free = serializers.IntegerField()
    capacity = serializers.IntegerField()
    datasets = serializers.IntegerField()
    elsewhere = serializers.IntegerField(help_text="Runs of other projects.")
    prunable = serializers.IntegerField(help_text="Bytes that the rule prunes now.")
    rule = serializers.ListField(child=serializers.CharField())
    runs = RunUseOut(many=True)
    models = ModelUseOut(many=True)


@extend_schema(responses={200: DiskOut} | refusals(400, 403, 404), parameters=[PROJECT])
@allows(get="research")
def use(request: Request) -> Response:
    """Return what the runs and models of a project take, the largest first."""
    if not (slug := request.query_params.get("project")):
        raise Refused(400, project="Send the project: ?project=<slug>.")
    project = find_project(request.user, slug)
    require(request.user, "research", project)
    stored = disk_usage.list_stored()
    disk_use = disk_usage.of_project(project, stored)
    fields: dict[str, Any] = {name: getattr(disk_use, name) for name in ("free", "capacity", "datasets", "elsewhere")}
    fields |= {"runs": disk_use.runs, "models": disk_use.models, "rule": pruning.RULE}
    prunable = sum(one.size for one in pruning.prune(dry_run=True, at_once=True, project=project, stored=stored.runs))
    return Response(DiskOut(fields | {"prunable": prunable}).data)


@extend_schema(request=PruneIn, responses={200: FreedOut} | refusals(400, 403, 404))
@allows(post="research")
def prune(request: Request) -> Response:
    """Delete the checkpoints that the rule lets go; with `run`, every checkpoint of that one run."""
    prune_in = PruneIn.read(request)
    project = find_project(request.user, prune_in["project"])
    require(request.user, "research", project)
    if number := prune_in.get("run"):
        run = find_named(project.runs.all(), number, "run")
        return Response({"freed": actions.prune(project=project, by=request.user, run=run)})
    return Response({"freed": actions.prune(project=project, by=request.user)})
