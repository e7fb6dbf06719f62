"""Memory and time of a run that is not queued yet, as the fields of its form change."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from annotate.models import Project
from annotate.views.access import in_project
from training.kinds import KINDS
from training.views.forms import RunForm
from training.views.pretrain_page import form_context


@never_cache
@require_GET
@in_project("research")
def pretraining(request: HttpRequest, project: Project) -> HttpResponse:
    """The part of the form alone. What is typed comes as the form has it; nothing is refused here."""
    form = RunForm(request.GET or None, kind=KINDS["pretrain"], project=project)
    return render(request, "training/kinds/pretrain_form.html", {**form_context(form), "project": project})
