"""Serve the work on figures that take long to programs: cancel it, and go on with it."""

from __future__ import annotations

from collections.abc import Callable

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.lookup import find
from annotate.core.api.serializer_fields import refusals
from annotate.models import Project
from evaluation.core import kept_figures
from evaluation.core.while_computed import BeingComputedOut, being_computed
from evaluation.models import KeptFigures


@extend_schema(request=None, responses={200: BeingComputedOut} | refusals(403, 404, 409))
@in_project(post="research")
def cancel(request: Request, project: Project, pk: str) -> Response:
    """Stop computing figures: nothing is computed for ten minutes, or until you go on."""
    return _changed(request, project, pk, kept_figures.cancel)


@extend_schema(request=None, responses={200: BeingComputedOut} | refusals(403, 404, 409))
@in_project(post="research")
def go_on(request: Request, project: Project, pk: str) -> Response:
    """Have cancelled figures computed at once."""
    return _changed(request, project, pk, kept_figures.go_on)


def _changed(request: Request, project: Project, pk: str, change: Callable[..., None]) -> Response:
    rows = KeptFigures.objects.filter(project=project).select_related("project").defer("body")
    row = find(rows, pk, "figures")
    change(row, by=request.user)
    row.refresh_from_db(fields=["stage", "share", "problem"])
    return Response(being_computed(row))
