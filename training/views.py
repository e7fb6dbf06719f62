"""Pages of runs: the list, a form for a new one, and the page of each."""

from __future__ import annotations

import uuid
from typing import Any, cast

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.errors import Refused
from annotate.models import Project, User
from annotate.permissions import can
from annotate.views.access import in_project, refused_page
from training import actions, kind_pages, run_list, run_page
from training.forms import RunForm
from training.kinds import KINDS
from training.models import Run


@never_cache
@require_GET
@in_project()
def runs(request: HttpRequest, project: Project) -> HttpResponse:
    """What is under way, what waits and what has ended, newest first."""
    context = run_list.context(project, request.GET.get("kind", ""), request.GET.get("page", ""))
    may_start = can(request.user, "research", project)
    return render(request, "training/runs.html", {**context, "section": "runs", "may_start": may_start})


@require_http_methods(["GET", "POST"])
@in_project("research")
def new_run(request: HttpRequest, project: Project, kind: str) -> HttpResponse:
    if kind not in KINDS:
        raise Http404(f"There is no kind of run called {kind}.")
    form = RunForm(request.POST or None, kind=KINDS[kind], project=project, initial=_suggested(request, project, kind))
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                run = actions.queue_run(
                    kind=kind,
                    project=project,
                    by=cast(User, request.user),  # in_project lets nobody else through
                    idempotency_key=request.POST.get("key") or None,
                    **form.order(),
                )
                return redirect("run", run.pk)
            except Refused as refused:
                form.add_refusal(refused)
                status = refused.status
    context = {
        **kind_pages.of_form(form),
        "project": project,
        "section": "runs",
        "form": form,
        "kind": KINDS[kind],
        "kinds": KINDS.values(),
        # Pressing the button twice starts one run.
        "form_key": request.POST.get("key") or uuid.uuid4().hex,
    }
    return render(request, "training/new_run.html", context, status=status)


@never_cache
@require_GET
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    run, refusal = _run(request, run_id)
    if refusal:
        return refusal
    return render(request, "training/run.html", _page(request, run))


@never_cache
@require_GET
def run_metrics(request: HttpRequest, run_id: int) -> HttpResponse:
    """The figures as JSON: those after `?after=`, a sequence number."""
    run, refusal = _run(request, run_id)
    if refusal:
        return refusal
    try:
        after = int(request.GET.get("after") or 0)
    except ValueError:
        return JsonResponse({"errors": {"after": "Give the sequence number of the last line you have."}}, status=400)
    rows = run.metrics.filter(sequence__gt=after).order_by("sequence").values("sequence", "step", "time", "values")
    return JsonResponse({"run": run.pk, "state": run.state, "metrics": list(rows)})


@require_POST
def cancel(request: HttpRequest, run_id: int) -> HttpResponse:
    return _act(request, run_id, actions.cancel)


@require_POST
def resume(request: HttpRequest, run_id: int) -> HttpResponse:
    return _act(request, run_id, actions.resume)


def _act(request: HttpRequest, run_id: int, action: Any) -> HttpResponse:
    run, refusal = _run(request, run_id)
    if refusal:
        return refusal
    if not request.user.is_authenticated:
        return redirect_to_login(run_page.address(run))
    try:
        action(run=run, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=run.project)
    return redirect("run", run.pk)


def _run(request: HttpRequest, run_id: int) -> tuple[Run, HttpResponse | None]:
    """The run, and a refusal for those who may not read its project."""
    found = get_object_or_404(Run.objects.select_related(*run_page.RELATED), pk=run_id)
    if can(request.user, "read", found.project):
        return found, None
    if not request.user.is_authenticated:
        return found, redirect_to_login(request.get_full_path())
    raise Http404("No such run.")


def _page(request: HttpRequest, run: Run) -> dict[str, Any]:
    return {
        **run_page.context(run),
        "project": run.project,
        "section": "runs",
        "options": run_page.options(run),
        "may_change": can(request.user, "research", run.project),
    }


def _suggested(request: HttpRequest, project: Project, kind: str) -> dict[str, Any]:
    """What a link asked for: `?like=7` repeats run 7, `?dataset=3` chooses one; and a name that is still free."""
    number = (Run.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    suggested: dict[str, Any] = {"name": f"{project.slug}-{kind}-{number}"}
    like = request.GET.get("like", "")
    if like.isdecimal() and (earlier := project.runs.filter(pk=like, kind=kind).first()):
        suggested |= {"parent": earlier.parent_id, "dataset": earlier.dataset_id, "seed": earlier.seed}
        suggested |= {"reward_model": earlier.reward_model_id, "other_dataset": earlier.other_dataset_id}
        suggested |= {f"config.{name}": value for name, value in earlier.config.items()}
    asked = ("parent", "dataset", "other_dataset", "reward_model", "name")
    return suggested | {name: request.GET[name] for name in asked if name in request.GET}
