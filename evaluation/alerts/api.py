"""Alerts of a project, for programs."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from annotate.core.api.api_access import in_project
from annotate.core.api.serializer_fields import Choice, refusals
from annotate.core.errors import Refused
from annotate.core.permissions import can
from annotate.models import Project
from common.whole_numbers import row_id
from evaluation.alerts import alert_upkeep
from evaluation.alerts.alert_kinds import CHOICES, KINDS
from evaluation.models import Alert

MOST = 100


class AlertOut(serializers.ModelSerializer):
    kind = Choice(CHOICES)

    class Meta:
        model = Alert
        fields = ("id", "kind", "about", "text", "url", "opened_at", "closed_at", "dismissed_at")


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


@extend_schema(request=None, responses={200: AlertOut} | refusals(403, 404, 409))
@in_project(post="research")
def alert_dismissal(request: Request, project: Project, pk: str) -> Response:
    """Dismiss an open alert: nobody is told of its cause again until the cause changes."""
    alert = Alert.objects.opened().filter(project=project, pk=row_id(pk)).first()
    if alert is None:
        raise Refused(404, alert="There is no such alert here.")
    alert_upkeep.dismiss(alert, by=request.user)
    alert.refresh_from_db()
    return Response(AlertOut(alert).data)
