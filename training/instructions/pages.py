"""The page that turns labelled datasets into instructions."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.datastructures import MultiValueDict

from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.page_access import in_project
from annotate.data.rows.task_families import TASKS
from annotate.models import Dataset, Project, User
from common.whole_numbers import row_ids
from training.instructions.actions import OwnTemplate, instruct, preview
from training.instructions.mixing import Options
from training.instructions.templating import LONGEST, few_shots, fields_of, instructions_of

_WHOLE, _SHARES = ("cap", "limit", "templates_per_row", "most_shots", "seed"), ("inverted_share", "few_shot_share")


@takes_files
@in_project(get="research", post="research")
def instructions(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the form on GET; on POST with `do=look` show what would come of it, else freeze it."""
    form = _form(request.POST if request.method == "POST" else request.GET, request.FILES, project)
    if request.method != "POST":
        return _page(request, project, form)
    try:
        if request.POST.get("do") == "look":
            return _page(request, project, form, preview=preview(project=project, **_arguments(form)))
        by = cast(User, request.user)  # in_project lets nobody else through
        dataset, is_new = instruct(project=project, name=form["name"], by=by, **_arguments(form))
    except Refused as refused:
        return _page(request, project, form, status=refused.status, errors=refused.errors)
    text = "is frozen. It cannot change any more." if is_new else "already has the same rows."
    messages.success(request, f"{dataset.name} {text}")
    return redirect("dataset", dataset.pk)


def _form(posted: QueryDict, files: MultiValueDict[str, UploadedFile], project: Project) -> dict[str, Any]:
    default = Options()
    numbers = {name: getattr(default, name) for name in (*_WHOLE, *_SHARES)}
    typed = {name: posted.get(name, "" if value is None else str(value)).strip() for name, value in numbers.items()}
    ids = set(row_ids(posted.getlist("datasets")))
    chosen = [d for d in _labelled(project) if d.pk in ids]
    if file := files.get("own_file"):
        typed["own_template"] = file.read(4 * LONGEST).decode("utf-8", "replace").strip()
    own_task = posted.get("own_task", "")
    return typed | {
        "name": posted.get("name", "").strip(),
        "datasets": chosen,
        "own_template": typed.get("own_template") or posted.get("own_template", "").strip(),
        "own_task": own_task if own_task in TASKS else (chosen[0].counts.get("task", "") if chosen else ""),
    }


def _arguments(form: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"datasets": form["datasets"]}
    for name in _WHOLE:
        fields[name] = _number(name, form[name], int) if form[name] or name != "limit" else None
    for name in _SHARES:
        fields[name] = _number(name, form[name], float)
    own_templates = [OwnTemplate(form["own_task"], form["own_template"])] if form["own_template"] else []
    return fields | {"templates": own_templates}


def _number(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise Refused(
            400, **{name: f"must be a {'whole number' if kind is int else 'number'}, not {text!r}."}
        ) from None


def _labelled(project: Project) -> list[Dataset]:
    return list(project.datasets.filter(kind=Dataset.Kind.LABELLED))


def _page(
    request: HttpRequest, project: Project, form: dict[str, Any], status: int = 200, **shown: Any
) -> HttpResponse:
    labelled = _labelled(project)
    names = sorted({d.counts["task"] for d in labelled if d.counts.get("task") in TASKS})
    context = {
        "project": project,
        "form": form,
        "labelled": labelled,
        "tasks": [(TASKS[name], instructions_of(name), fields_of(TASKS[name])) for name in names],
        "few_shots": few_shots(),
        "errors": {},
        **shown,
    }
    return render(request, "training/instructions/instruct.html", context, status=status)
