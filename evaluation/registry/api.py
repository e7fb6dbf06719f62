"""Serve what belongs to a model beside its row: the card, and the files of an export."""

from __future__ import annotations

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import allows
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import refusals
from annotate.core.asgi import downloads as streaming
from annotate.core.permissions import models_seen, projects_where, require
from evaluation.registry import model_card
from evaluation.registry.export_files import exported_file, note_download
from training.models import Run


class CardOut(serializers.Serializer):
    markdown = serializers.CharField(help_text="A README.md with the front matter for a hub.")


@extend_schema(responses={200: CardOut} | refusals(404))
@allows(get="account, read")
def card(request: Request, pk: str) -> Response:
    """Return the model's card: lineage, data, annotations by count, licence, config, figures, cost, limits."""
    model = find(models_seen(request.user), pk, "model")
    return Response({"markdown": model_card.markdown(model, readable=projects_where(request.user, "read"))})


@extend_schema(responses={(200, "application/octet-stream"): OpenApiTypes.BINARY} | refusals(403, 404, 410))
@allows(get="research")
def export_file(request: Request, pk: str, name: str) -> HttpResponseBase:
    """Return one file of an export, named in the run's `result.files`; for researchers."""
    runs = Run.objects.filter(project__in=projects_where(request.user, "read")).select_related("project")
    run = find(runs, pk, "run")
    require(request.user, "research", run.project)
    path = exported_file(run, name)
    note_download(run, name, request.user)
    return streaming.file(request._request, path, name=name)
