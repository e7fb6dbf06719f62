"""Estimate memory and time of a run that is not queued yet, as the fields of its form change."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from annotate.core.page_access import in_project
from annotate.models import Project
from training import configs
from training.core.kinds import KINDS
from training.runs.present.pretrain_section import form_context
from training.runs.present.run_estimates import PlannedRun, estimate, planned_run
from training.runs.present.run_form import RunForm


@never_cache
@in_project(get="research")
def of_kind(request: HttpRequest, project: Project, kind: str) -> HttpResponse:
    """Render the line with time and memory, for what is typed so far; nothing is refused here."""
    if kind not in KINDS:
        raise Http404(f"There is no kind of run called {kind}.")
    planned = planned_run(RunForm(request.GET or None, kind=KINDS[kind], project=project))
    if measure := request.GET.get("measure"):  # chosen before the form of an evaluation, which asks it no more
        config = configs.parse_valid(kind, planned.config | {"measure": measure})
        planned = PlannedRun(project, kind, vars(config), planned.parent)
    context = {"project": project, "kind": KINDS[kind], "estimate": estimate(planned)}
    return render(request, "training/runs/estimate.html", context)


@never_cache
@in_project(get="research")
def pretraining(request: HttpRequest, project: Project) -> HttpResponse:
    """Render the part of the form alone. What is typed comes as the form has it; nothing is refused here."""
    form = RunForm(request.GET or None, kind=KINDS["pretrain"], project=project)
    return render(request, "training/runs/kinds/pretrain_form.html", {**form_context(form), "project": project})
