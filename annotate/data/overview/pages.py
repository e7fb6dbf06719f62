"""Show how much data a project has, with a link to the page of each kind."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from annotate.core.page_access import in_project
from annotate.core.permissions import can
from annotate.data.overview import present
from annotate.models import Project


@in_project(get="read")
def overview(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the counts. An address of the form that once stood here leads to the form."""
    if "kind" in request.GET:
        return redirect(f"{reverse('datasets', args=[project.slug])}?{request.GET.urlencode()}")
    researches = can(request.user, "research", project)
    totals = present.annotation_totals(project)
    context = {
        "project": project,
        "totals": totals,
        "trainable": present.has_trainable(totals),
        "prompts": present.prompt_totals(project),
        "answers": present.answer_count(project),
        "datasets": present.dataset_totals(project),
        "researches": researches,
        "reviews": can(request.user, "review", project),
        "imports": project.imports.count() if researches else 0,
    }
    return render(request, "annotate/data/data.html", context)
