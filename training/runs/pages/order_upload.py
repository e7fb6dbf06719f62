"""Download a run's order as a file, and queue one from a file."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import allows, in_project
from annotate.models import Project, User
from training.runs.access import find_run
from training.runs.ordering import actions
from training.runs.ordering import order_files as orders
from training.runs.ordering.checks import require_kind
from training.runs.pages.run_pages import form_page
from training.runs.present.run_form import RunForm, suggested

_MOST_BYTES = 1_000_000


@allows(get="read")
def download(request: HttpRequest, run_id: int) -> HttpResponse:
    """Download the options that the run was queued with, as YAML."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    name = f"run-{run.pk}.yaml"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(orders.written(run), content_type="application/yaml; charset=utf-8", headers=headers)


@in_project(get="research", post="research")
def from_file(request: HttpRequest, project: Project) -> HttpResponse:
    """Open an order that was pasted or uploaded as a form, or queue it."""
    context = {"project": project, "yaml": request.POST.get("yaml", "")}
    if request.method != "POST":
        return render(request, "training/runs/from_file.html", context)
    try:
        context["yaml"] = text = _text(request)
        order = orders.resolve(orders.read(text), project)
        if "queue" in request.POST:
            run = actions.queue_run(project=project, by=cast(User, request.user), **order.arguments)
            return redirect("run", run.pk)
        return _as_form(request, project, order)
    except Refused as refused:
        return render(
            request, "training/runs/from_file.html", {**context, "errors": refused.errors}, status=refused.status
        )


def _as_form(request: HttpRequest, project: Project, order: orders.Order) -> HttpResponse:
    arguments = dict(order.arguments)
    kind, config = require_kind(arguments.pop("kind")), arguments.pop("config")
    initial = suggested(project, kind.name, parent=arguments.get("parent")) | {
        name: value for name, value in arguments.items() if name != "name" or value
    }
    initial |= {f"config.{name}": v for name, v in config.items()}
    form = RunForm(kind=kind, project=project, initial=initial)
    unknown = [name for name in config if f"config.{name}" not in form.fields]
    notes = [*order.notes, *(f"{name} is not an option of {kind.name} and is left out." for name in unknown)]
    return form_page(request, project, form, notes=notes)


def _text(request: HttpRequest) -> str:
    """Return what was pasted, else the file."""
    file = request.FILES.get("file")
    if file is None:
        return request.POST.get("yaml", "")
    if (file.size or 0) > _MOST_BYTES:
        raise Refused(413, yaml="The file is too large; choose the YAML file of a run.")
    try:
        return file.read().decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, yaml="The file is not text; choose the YAML file of a run.") from None
