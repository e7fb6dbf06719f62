"""Draw several runs in one chart."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from annotate.core.page_access import in_project
from annotate.models import Project
from training.runs.present import run_comparison as compare


@never_cache
@in_project(get="read")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    """Compare runs: `?run=3&run=7&metric=loss&x=tokens&smooth=20&log=1`."""
    context = compare.context(project, compare.Choice.of(request.GET))
    return render(request, "training/runs/compare.html", context)
