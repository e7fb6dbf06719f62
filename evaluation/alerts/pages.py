"""Dismiss an alert from the page that it leads to."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.models import Project
from evaluation.alerts import alert_upkeep
from evaluation.models import Alert


@in_project(post="research")
def dismissal(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    alert = get_object_or_404(Alert.objects.opened(), project=project, pk=pk)
    try:
        alert_upkeep.dismiss(alert, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "The alert is dismissed. It comes back if its cause changes.")
    return redirect(alert.url)
