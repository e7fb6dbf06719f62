"""Show runs: the list, a form for a new one, and the page of each."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any, cast

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.asgi import downloads
from annotate.core.errors import Refused
from annotate.core.page_access import allows, in_project, refused_page
from annotate.core.permissions import can, require
from annotate.models import LanguageModel, Project, User
from common.whole_numbers import row_id
from training.configs import CONFIGS
from training.configs.forms.layouts import ROWS
from training.configs.forms.starting_points import values_by_name
from training.core.kinds import KINDS
from training.core.stages import stages
from training.models import Run
from training.runs.access import find_run
from training.runs.ordering import actions, priorities
from training.runs.present import kind_sections, run_details, run_list
from training.runs.present.run_estimates import estimate, planned_run
from training.runs.present.run_form import RunForm, boxes_in, earlier_run, suggested
from training.runs.present.run_page import live_log, run_charts, run_config, run_tabs
from training.runs.queue import drains
from training.runs.trackers import tensorboard_files

_PLAIN = "text/plain; charset=utf-8"


@never_cache
@in_project(get="read")
def runs(request: HttpRequest, project: Project) -> HttpResponse:
    """Show what is under way, what waits and what has ended, newest first."""
    context = run_list.context(project, request.GET.get("kind", ""), request.GET.get("page", ""))
    may_start = can(request.user, "research", project)
    drained = drains.drained_workers() if may_start else []  # names of machines are not for everybody
    return render(request, "training/runs/runs.html", {**context, "may_start": may_start, "drained_workers": drained})


@in_project(get="research")
def choose_kind(request: HttpRequest, project: Project) -> HttpResponse:
    """Show every kind of run under its stage, one line each."""
    return render(
        request, "training/runs/choose.html", {"project": project, "stages": stages(from_scratch=project.from_scratch)}
    )


@in_project(get="research", post="research")
def new_run(request: HttpRequest, project: Project, kind: str) -> HttpResponse:
    if kind not in KINDS:
        raise Http404(f"There is no kind of run called {kind}.")
    if kind in kind_sections.FORM_PAGES:
        return kind_sections.FORM_PAGES[kind].view(request, project)
    earlier = earlier_run(project, kind, request.POST.get("cloned_from") or request.GET.get("like", ""))
    asked_values = _initial_values(request)
    parent = LanguageModel.objects.usable_in(project).filter(pk=row_id(str(asked_values.get("parent", "")))).first()
    initial = suggested(project, kind, earlier, parent) | _preset_values(kind, request) | asked_values
    posted = request.POST if request.method == "POST" else None  # bound where nothing was sent, too
    form = RunForm(posted, kind=KINDS[kind], project=project, initial=initial)
    status = 200
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                run = actions.queue_run(
                    kind=kind,
                    project=project,
                    by=cast(User, request.user),  # in_project lets nobody else through
                    cloned_from=earlier,
                    idempotency_key=request.POST.get("key") or None,
                    **form.order(),
                )
                return redirect("run", run.pk)
            except Refused as refused:
                form.add_refusal(refused)
                status = refused.status
        else:
            form.add_further_errors()
    return form_page(request, project, form, earlier=earlier, status=status)


def form_page(
    request: HttpRequest,
    project: Project,
    form: RunForm,
    *,
    earlier: Run | None = None,
    notes: Sequence[str] = (),
    status: int = 200,
) -> HttpResponse:
    context = {
        **kind_sections.of_form(form),
        "project": project,
        "form": form,
        "kind": form.kind,
        "stages": stages(from_scratch=project.from_scratch),
        "earlier": earlier,
        "notes": notes,
        "estimate": estimate(planned_run(form)),
        "preset": request.GET.get("preset", "") if not form.is_bound else "",
        # Pressing the button twice starts one run.
        "form_key": request.POST.get("key") or uuid.uuid4().hex,
    }
    return render(request, "training/runs/new_run.html", context, status=status)


@never_cache
@allows(get="read")
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    view = run_tabs.View.of(run, request.GET)
    return render(request, f"training/runs/tabs/{view.tab}.html", _page(request, run, view))


@never_cache
@allows(get="research")
def log(request: HttpRequest, run_id: int) -> HttpResponseBase:
    """Download the log as the recipe wrote it, for researchers of the project: it may quote data."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    try:
        require(request.user, "research", run.project)
    except Refused as refused:
        return refused_page(request, refused, project=run.project)
    path = live_log.whole_log(run)
    if path.is_symlink() or not path.exists():  # the recipe could have laid a link to any file
        raise Http404("The log is empty.")
    # Without its length: it may grow while it is sent.
    return downloads.download(request, downloads.blocks(path), name=f"run-{run.pk}-log.txt", content_type=_PLAIN)


@never_cache
@allows(get="read")
def run_metrics(request: HttpRequest, run_id: int) -> HttpResponse:
    """Return the figures as JSON: those after `?after=`, a sequence number."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    try:
        after = int(request.GET.get("after") or 0)
    except ValueError:
        return JsonResponse({"errors": {"after": "Give the sequence number of the last line you have."}}, status=400)
    rows = run.metrics.filter(sequence__gt=after).order_by("sequence").values("sequence", "step", "time", "values")
    return JsonResponse({"run": run.pk, "state": run.state, "metrics": list(rows)})


@never_cache
@allows(get="read")
def run_events(request: HttpRequest, run_id: int) -> HttpResponseBase:
    """Download the figures as a file that TensorBoard reads."""
    run, refusal = find_run(request, run_id)
    return refusal or tensorboard_files.download(request, run)


@allows(post="research")
def cancel(request: HttpRequest, run_id: int) -> HttpResponse:
    return _act(request, run_id, actions.cancel)


@allows(post="research")
def set_priority(request: HttpRequest, run_id: int) -> HttpResponse:
    return _act(request, run_id, partial(priorities.set_priority, priority=request.POST.get("priority", "")))


@allows(post="research")
def resume(request: HttpRequest, run_id: int) -> HttpResponse:
    """Resume the run. With `prune` in the form, checkpoints that the rule lets go make room first."""
    if "prune" in request.POST:
        return _act(request, run_id, actions.make_room_and_resume)
    return _act(request, run_id, actions.resume)


@allows(post="research")
def queue_again(request: HttpRequest, run_id: int) -> HttpResponse:
    """Queue the remedy of a failure in one click: the same run with the options that its failure names."""
    key = request.POST.get("key") or None
    return _act(request, run_id, partial(actions.queue_again, idempotency_key=key))


def _act(request: HttpRequest, run_id: int, action: Any) -> HttpResponse:
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    if not request.user.is_authenticated:
        return redirect_to_login(run_tabs.address(run))
    try:
        changed = action(run=run, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=run.project)
    if changed.name != run.name:
        messages.success(request, f"The name {run.name} was taken meanwhile; this run is called {changed.name} now.")
    return redirect("run", changed.pk)


def _page(request: HttpRequest, run: Run, view: run_tabs.View) -> dict[str, Any]:
    shown = run_details.context(run, view)
    return {  # beside what its live updates render, too
        **shown,
        **(run_config.context(run) if view.tab == run_tabs.CONFIG else {}),
        "project": run.project,
        "tabs": run_tabs.tabs_of(run, view),
        "pictures": run_charts.pictures(run, view, shown) if view.is_drawn else [],
        "form_key": uuid.uuid4().hex,
        "asks_cancel": request.GET.get("ask") == "cancel",
        "may_change": can(request.user, "research", run.project),
        "may_review": can(request.user, "review", run.project),
        "may_manage": can(request.user, "manage", run.project),
    }


def _initial_values(request: HttpRequest) -> dict[str, Any]:
    """Return what a link asks for: `?dataset=3` chooses one, `?config.batch_size=4` sets an option.

    With `?preset=` the options are the preset's. `?sent=dpo` is the form of that kind as it was filled in: what it
    leaves out are boxes that are not ticked.
    """
    items = request.GET.items()
    values: dict[str, Any] = {name: value for name, value in items if name in ROWS or name.startswith("config.")}
    sent = request.GET.get("sent", "")
    if "preset" in request.GET:
        return {name: value for name, value in values.items() if not name.startswith("config.")}
    if sent in CONFIGS:
        values |= boxes_in(request.GET, CONFIGS[sent])
    return values


def _preset_values(kind: str, request: HttpRequest) -> dict[str, Any]:
    """Return the options of the preset that a link names; an unknown one sets none."""
    named = values_by_name(CONFIGS[kind]).get(request.GET.get("preset", ""), {})
    return {f"config.{name}": value for name, value in named.items()}
