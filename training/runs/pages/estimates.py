"""Estimate memory and time of a run that is not queued yet, as the fields of its form change."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from annotate.core.page_access import in_project
from annotate.models import Project
from training.core.kinds import KINDS
from training.runs.present.pretrain_section import form_context
from training.runs.present.run_form import RunForm


@never_cache
@in_project(get="research")
def pretraining(request: HttpRequest, project: Project) -> HttpResponse:
    """Render the part of the form alone. What is typed comes as the form has it; nothing is refused here."""
    form = RunForm(request.GET or None, kind=KINDS["pretrain"], project=project)
    return render(request, "training/runs/kinds/pretrain_form.html", {**form_context(form), "project": project})
