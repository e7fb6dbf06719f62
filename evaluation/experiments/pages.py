"""Pages of experiments: the list, the order, one experiment with its plan, its arms and its verdict."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import can
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project
from evaluation.experiments import actions, experiment_words, present
from evaluation.experiments.arm_methods import BASE, METHODS, ORDERED, UNITS
from evaluation.experiments.family_tests import AGAINST_BASELINE, ALL_PAIRS

NUMBERS = {"seeds": int, "votes_per_pair": int, "completions_per_prompt": int, "alpha": float, "amount": float}
DEFAULTS = {
    "name": "", "seeds": "3", "votes_per_pair": "40", "completions_per_prompt": "2", "alpha": "0.05", "unit": "",
    "amount": "", "judge": AnnotatorKind.PERSON, "family": AGAINST_BASELINE, "baseline": BASE,
}  # fmt: skip


@in_project(get="read")
def experiments(request: HttpRequest, project: Project) -> HttpResponse:
    context = {
        "project": project,
        "experiments": project.experiments.select_related("parent", "dataset"),
        "can_research": can(request.user, "research", project),
    }
    return render(request, "evaluation/experiments/experiments.html", context)


@in_project(get="research", post="research")
def new(request: MemberRequest, project: Project) -> HttpResponse:
    errors: dict[str, str] = {}
    if request.method == "POST":
        try:
            experiment = actions.order(project=project, by=request.user, **_ordered(request, project))
            return redirect("experiment", slug=project.slug, pk=experiment.pk)
        except Refused as refused:
            errors = refused.errors
    values = {name: request.POST.get(name, default) for name, default in DEFAULTS.items()}
    context = {
        "project": project,
        "errors": errors,
        "values": values,
        "chosen": request.POST.getlist("method") or list(ORDERED),
        "methods": [METHODS[name] for name in ORDERED],
        "models": LanguageModel.objects.usable_in(project).available().policies().exclude(folder=""),
        "datasets": Dataset.objects.filter(project=project, kind=Dataset.Kind.PREFERENCES).exclude(judge="model"),
        "parent": request.POST.get("parent", ""),
        "dataset": request.POST.get("dataset", ""),
        "measures_tax": request.POST.get("measures_tax") == "on",
        "units": UNITS,
        "families": ((AGAINST_BASELINE, "each arm against the base"), (ALL_PAIRS, "every arm against every other")),
    }
    return render(request, "evaluation/experiments/new_experiment.html", context, status=400 if errors else 200)


@in_project(get="read")
def experiment(request: HttpRequest, project: Project, pk: int) -> HttpResponse:
    row = get_object_or_404(
        project.experiments.select_related("parent", "dataset", "reward_run", "reward_model"), pk=pk
    )
    shown = present.shown(row)
    context = {
        "project": project,
        "experiment": row,
        "shown": shown,
        "plan": experiment_words.plan_in_words(row),
        "methods": [METHODS[name] for name in ORDERED],
        "can_research": can(request.user, "research", project),
        "has_failed": any(one.state == "refused" for arm in shown.rows for one in arm.seeds)
        or bool(actions.failed_runs(row)),
    }
    return render(request, "evaluation/experiments/experiment.html", context)


@in_project(post="research")
def add_arm(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    row = get_object_or_404(project.experiments, pk=pk)
    arm = {"method": request.POST.get("method", ""), "name": request.POST.get("name", "")}
    try:
        added = actions.add_arm(experiment=row, by=request.user, arm=arm)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, f"{added[0].name} was added as an exploratory arm.")
    return redirect("experiment", slug=project.slug, pk=pk)


@in_project(post="research")
def retry(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    row = get_object_or_404(project.experiments, pk=pk)
    try:
        count = actions.retry(experiment=row, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, f"{count} run{'s' if count != 1 else ''} resumed or ordered again.")
    return redirect("experiment", slug=project.slug, pk=pk)


@in_project(post="research")
def cancel(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    row = get_object_or_404(project.experiments, pk=pk)
    try:
        actions.cancel(experiment=row, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect("experiment", slug=project.slug, pk=pk)


def _ordered(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return the form as the action takes it. What is no number stays a text: the action says what is wrong."""
    posted = request.POST
    values = {name: _number(posted.get(name, ""), kind) for name, kind in NUMBERS.items()}
    usable = LanguageModel.objects.usable_in(project)
    unit = posted.get("unit", "")
    return {
        "name": posted.get("name", ""),
        "parent": _chosen(usable, posted.get("parent", ""), "parent", "Choose the model that every arm starts from."),
        "dataset": _chosen(
            Dataset.objects.filter(project=project), posted.get("dataset", ""), "dataset",
            "Choose a dataset of preferences; freeze one under Data first.",
        ),
        "arms": [{"method": method} for method in posted.getlist("method")],
        "seeds": values["seeds"],
        "budget": {"unit": unit, "amount": values["amount"]} if unit else None,
        "judge": posted.get("judge", ""),
        "family": posted.get("family", ""),
        "alpha": values["alpha"],
        "votes_per_pair": values["votes_per_pair"],
        "completions_per_prompt": values["completions_per_prompt"],
        "measures_tax": posted.get("measures_tax") == "on",
    }  # fmt: skip


def _chosen(rows: Any, pk: str, field: str, missing: str) -> Any:
    row = rows.filter(pk=int(pk)).first() if pk.isascii() and pk.isdigit() and len(pk) < 19 else None
    if row is None:
        raise Refused(400, **{field: missing})
    return row


def _number(text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        return text
