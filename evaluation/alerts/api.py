"""Alerts of a project, for programs."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import Choice, refusals
from annotate.core.permissions import can
from annotate.models import Project
from evaluation.alerts.alert_kinds import CHOICES, KINDS
from evaluation.models import Alert

MOST = 100


class AlertOut(serializers.ModelSerializer):
    kind = Choice(CHOICES)

    class Meta:
        model = Alert
        fields = ("id", "kind", "about", "text", "url", "opened_at", "closed_at")


@extend_schema(
    responses={200: AlertOut(many=True)} | refusals(403, 404),
    parameters=[OpenApiParameter("open", bool, description="1: only those whose cause lasts.")],
)
@in_project(get="research")
def alert_list(request: Request, project: Project) -> Response:
    """List the newest alerts of a project that you may see; `?open=1` for those whose cause lasts."""
    kinds = [kind.key for kind in KINDS.values() if can(request.user, kind.right, project)]
    alerts = Alert.objects.opened().filter(project=project, kind__in=kinds)
    if request.query_params.get("open") in ("1", "true"):
        alerts = alerts.open()
    return Response(AlertOut(alerts[:MOST], many=True).data)
