"""Start an evaluation: first which measure, then its options, for one model or for several alike."""

from __future__ import annotations

import uuid
from typing import Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from annotate.core.errors import Refused
from annotate.data.rows.task_items import FORMS
from annotate.models import LanguageModel, Project, User
from common.whole_numbers import row_id
from evaluation.measures import evaluations
from evaluation.measures.catalogue import ALL
from evaluation.measures.pages.evaluation_form import EvaluationForm, carried, models_for, values_in
from training.core.kinds import KINDS
from training.core.stages import stages
from training.models import Run
from training.runs.present.run_estimates import estimate, planned_run
from training.runs.present.run_form import earlier_run, suggested


def page(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the form: `?measure=` names a measure; a link may ask for a model, a dataset or any option, or for those of
    a run, by `?like=`."""
    like = request.POST.get("cloned_from") or request.GET.get("cloned_from") or request.GET.get("like", "")
    earlier = earlier_run(project, "evaluate", like)
    initial = suggested(project, "evaluate", earlier) | values_in(request.GET)
    name = _measure(request, project, initial)
    if name not in ALL:
        return _choose(request, project)
    posted = request.POST if request.method == "POST" else None  # bound where nothing was sent, too
    form = EvaluationForm(posted, measure=ALL[name], project=project, initial=initial)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                return _queued(request, project, _queue(request, project, form, earlier))
            except Refused as refused:
                form.add_refusal(refused)
                status = refused.status
        else:
            form.add_further_errors()
    context = {
        "project": project,
        "form": form,
        "kind": KINDS["evaluate"],
        "stages": stages(from_scratch=project.from_scratch),
        "measure": ALL[name],
        "estimate": estimate(planned_run(form)),
        "others": [measure for measure in ALL.values() if measure.name != name],
        "earlier": earlier,
        "carried": carried(request.POST or request.GET, initial, form),
        "form_key": request.POST.get("key") or uuid.uuid4().hex,
    }
    return render(request, "evaluation/measures/new_evaluation.html", context, status=status)


def _queue(request: HttpRequest, project: Project, form: EvaluationForm, earlier: Run | None) -> list[Run]:
    return evaluations.queue_alike(
        project=project,
        by=cast(User, request.user),  # the pages of runs let nobody else through
        cloned_from=earlier,
        idempotency_key=request.POST.get("key") or None,
        **form.order(),
    )


def _queued(request: HttpRequest, project: Project, runs: list[Run]) -> HttpResponse:
    if len(runs) == 1:
        return redirect("run", runs[0].pk)
    messages.success(
        request, f"{len(runs)} runs are queued, one for each model. You can compare their figures when they have ended."
    )
    return redirect("evaluations", project.slug)


def _measure(request: HttpRequest, project: Project, initial: dict[str, Any]) -> str:
    """Return the chosen measure, else the one that the choices so far leave: a task's form, a model's kind."""
    measure = request.POST.get("measure") or request.POST.get("config.measure") or request.GET.get("to")
    measure = measure or request.GET.get("measure")
    measure = measure or initial.get("config.measure")
    if measure:
        return str(measure)
    pk = row_id(str(initial.get("other_dataset") or ""))
    dataset = project.datasets.filter(pk=pk).first() if pk else None
    if dataset is not None and dataset.counts.get("form") in FORMS:
        return FORMS[dataset.counts["form"]].measures[0]
    if dataset is not None:
        return _only_one(name for name, measure in ALL.items() if dataset.kind in measure.takes)
    pk = row_id(str(initial.get("parent") or ""))
    model = LanguageModel.objects.usable_in(project).filter(pk=pk).first() if pk else None
    return _only_one(name for name, measure in ALL.items() if model and model.kind in measure.parents)


def _only_one(names: Any) -> str:
    name_list = list(names)
    return name_list[0] if len(name_list) == 1 else ""


def _choose(request: HttpRequest, project: Project) -> HttpResponse:
    query = request.GET.copy()
    query.pop("measure", None)
    cards = [(measure, models_for(measure, project).count()) for measure in ALL.values()]
    context = {
        "project": project,
        "cards": cards,
        "query": query.urlencode(),
    }
    return render(request, "evaluation/measures/choose_measure.html", context)
