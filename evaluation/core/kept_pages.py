"""Cancel the computation of figures that take long, and go on with it: two buttons beside how far it is."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page, way_back
from annotate.models import Project
from evaluation.core import kept_figures
from evaluation.models import KeptFigures


@in_project(post="research")
def cancel(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    text = "Cancelled. The figures that were there stay; newer ones are computed in 10 minutes, or when you say so."
    return _changed(request, project, pk, kept_figures.cancel, text)


@in_project(post="research")
def go_on(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    return _changed(request, project, pk, kept_figures.go_on, "The background worker computes the figures.")


def _changed(request: MemberRequest, project: Project, pk: int, change: Callable[..., None], text: str) -> HttpResponse:
    row = get_object_or_404(KeptFigures.objects.select_related("project").defer("body"), project=project, pk=pk)
    try:
        change(row, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, text)
    return redirect(way_back(request) or reverse("project", args=[project.slug]))
