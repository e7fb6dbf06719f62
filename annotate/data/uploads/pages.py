"""Show the form that turns a file into a dataset."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render

from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.named_values import named_values
from annotate.core.page_access import in_project
from annotate.data.rows.task_families import TASKS
from annotate.data.rows.task_items import FORMS
from annotate.data.uploads.actions import upload
from annotate.data.uploads.uploaded_rows import KINDS, Uploaded
from annotate.models import Project, User

WORDS = {
    "sft": (
        "Demonstrations",
        "Chats, prompts with their completions, or instructions with their outputs, for supervised finetuning.",
    ),
    "labelled": ("Labelled texts", "Texts with labels or answers, for a classifier and for instructions."),
    "corpus": (
        "Raw texts",
        "Documents for pretraining, for a domain, to tell abnormal texts; a twentieth is held out.",
    ),
    "task": (
        "Task",
        "Items with their right answers, to measure models on. They train nothing.",
    ),
}
_FIELDS = ("name", "task", "columns", "labels")


@takes_files
@in_project(get="research", post="research")
def upload_rows(request: HttpRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _page(request, project, _form(request.GET), {})
    form = _form(request.POST)
    file = request.FILES.get("file")
    try:
        if file is None:
            raise Refused(400, file="Choose a file.")
        fields = {name: form[name] for name in ("kind", "name", "task", "skip_bad")}
        fields |= {name: named_values(form[name], name) for name in ("columns", "labels")}
        by = cast(User, request.user)  # in_project lets nobody else through
        uploaded = upload(project=project, by=by, file=cast(Any, file), file_name=file.name or "upload", **fields)
    except Refused as refused:
        return _page(request, project, form, refused.errors, refused.status)
    messages.success(request, _upload_message(uploaded))
    return redirect("dataset", cast(Any, uploaded.dataset).pk)


def _form(query: QueryDict) -> dict[str, Any]:
    kind = query.get("kind", "labelled")
    fields = {name: query.get(name, "").strip() for name in _FIELDS}
    kind = kind if kind in KINDS else "labelled"
    return fields | {
        "kind": kind,
        "skip_bad": "skip_bad" in query,
        "task": fields["task"] if kind == "labelled" else "",
    }


def _page(
    request: HttpRequest, project: Project, form: dict[str, Any], errors: dict[str, str], status: int = 200
) -> HttpResponse:
    context = {
        "project": project,
        "section": "data",
        "form": form,
        "words": WORDS,
        "tasks": TASKS.values(),
        "forms": FORMS.values(),
        "errors": {name: text for name, text in errors.items() if not name.startswith("line ")},
        "bad_lines": {name: text for name, text in errors.items() if name.startswith("line ")},
    }
    return render(request, "annotate/data/upload.html", context, status=status)


def _upload_message(uploaded: Uploaded) -> str:
    dataset = cast(Any, uploaded.dataset)
    if not uploaded.is_new:
        return f"These very rows are frozen already, as {dataset.name}."
    parts = [f"{dataset.name} is frozen: {uploaded.rows:,} rows."]
    parts += [f"Left out: {n:,} {reason}." for reason, n in uploaded.left_out.items()]
    if uploaded.bad_count:
        first = uploaded.bad[0]
        parts.append(f"{uploaded.bad_count:,} lines could not be used; the first, line {first.line}, {first.reason}")
    if uploaded.ignored_columns:
        parts.append(f"Columns that nothing reads: {', '.join(sorted(map(str, uploaded.ignored_columns)))}.")
    return " ".join(parts)
