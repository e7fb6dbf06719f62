"""Show imports: the list, and one import's page, which moves while it works."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import Person, held_rights
from annotate.data import formats
from annotate.data.imports import options
from annotate.data.imports.actions import cancel_import, go_on, preview
from annotate.data.imports.engine import MOST_NAMED
from annotate.data.imports.kept_files import KEPT_DAYS
from annotate.data.imports.present import shown
from annotate.models import Import, Project
from annotate.models.prompts import has_answers
from annotate.projects.next_step import checklist, next_step
from common.texts import spreadsheet_cell, time_left

_SHOWN, _LINES_SHOWN = 50, 6
UNDER_WAY = (Import.State.QUEUED, Import.State.RUNNING)
# What was added, in the order in which it is told.
_KINDS = ("comparisons", "ratings", "rankings", "demonstrations", "spans", "flags", "attacks", "prompts", "completions")


@in_project(get="research")
def imports(request: MemberRequest, project: Project) -> HttpResponse:
    rows = project.imports.select_related("created_by")[:_SHOWN]
    context = {
        "project": project,
        "imports": [_progress(import_) | {"import": import_} for import_ in rows],
    }
    return render(request, "annotate/data/imports.html", context)


@in_project(get="research")
def one_import(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    import_ = get_object_or_404(Import.objects.select_related("created_by"), project=project, pk=pk)
    context = _progress(import_) | {"project": project, "import": import_, **_what_follows(import_, request.user)}
    if request.htmx and not request.htmx.boosted:
        answer = render(request, "annotate/data/import.html#progress", context)
        if context["bad"] and not context["under_way"]:
            answer["HX-Refresh"] = "true"  # it has just ended, and what was not usable stands elsewhere
        return answer
    return render(request, "annotate/data/import.html", context | _beginning(import_))


def _what_follows(import_: Import, user: Person) -> dict[str, Any]:
    """Return what the page of an import that is done leads to: answers to annotate, or the project's next step."""
    if import_.state != Import.State.DONE:
        return {}
    project = import_.project
    rights = held_rights(user, project)
    steps = checklist(project, is_manager="manage" in rights)
    return {"has_answers": has_answers(project), "next": next_step(project, user, rights, steps)}


@in_project(post="research")
def act(request: MemberRequest, project: Project, pk: int, what: str) -> HttpResponse:
    """Cancel an import or go on with it; `what` is cancel or go-on."""
    import_ = get_object_or_404(Import, project=project, pk=pk)
    try:
        (cancel_import if what == "cancel" else go_on)(import_, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(
        request, "The import stops after the current rows." if what == "cancel" else "The import is running."
    )
    return redirect("import", project.slug, pk)


@in_project(get="research")
def problems(request: HttpRequest, project: Project, pk: int) -> HttpResponse:
    """Return the lines that could not be used, as CSV."""
    import_ = get_object_or_404(Import, project=project, pk=pk)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["line", "reason"])
    # A reason may quote the file: a spreadsheet must not take it for a formula.
    writer.writerows([problem.line, spreadsheet_cell(problem.reason)] for problem in import_.problems.all())
    name = f'attachment; filename="import-{import_.pk}-problems.csv"'
    return HttpResponse(text.getvalue(), content_type="text/csv; charset=utf-8", headers={"Content-Disposition": name})


def _progress(import_: Import) -> dict[str, Any]:
    """Return how far it is, what has come of it, and when it will end."""
    counts = import_.counts
    under_way = import_.state in UNDER_WAY
    share = import_.position / import_.bytes if import_.bytes and under_way else 1.0 if not import_.problem else None
    seconds_left = None
    if import_.state == Import.State.RUNNING and import_.rate and import_.position and import_.lines:
        seconds_left = (import_.bytes - import_.position) * import_.lines / import_.position / import_.rate
    return {
        "under_way": under_way,
        "waits": import_.state == Import.State.QUEUED and (timezone.now() - import_.created_at).total_seconds() > 15,
        "is_dry": bool(import_.options.get("dry_run")),
        "percent": None if share is None else min(100, int(share * 100)),
        "left": None if seconds_left is None else time_left(seconds_left),
        "added": [(kind, counts[kind]) for kind in _KINDS if counts.get(kind)],
        "rows": counts.get("rows", 0),
        "already": counts.get("already", 0),
        "bad": counts.get("bad", 0),
        "named": min(counts.get("bad", 0), MOST_NAMED),
        "may_go_on": import_.state in (Import.State.CHECKED, Import.State.FAILED, Import.State.CANCELLED),
    }


def _reasons(import_: Import) -> list[tuple[str, int, list[int]]]:
    """Return each reason of bad lines, how many lines have it, and the first of them; the most frequent first."""
    lines: dict[str, list[int]] = defaultdict(list)
    for line, reason in import_.problems.values_list("line", "reason"):
        lines[reason].append(line)
    reasons = ((reason, len(line_numbers), line_numbers[:_LINES_SHOWN]) for reason, line_numbers in lines.items())
    return sorted(reasons, key=lambda reason_lines: (-reason_lines[1], reason_lines[2]))


def _beginning(import_: Import) -> dict[str, Any]:
    known = {**formats.FORMATS, **formats.INCOMING}.get(import_.format)
    return {
        "format_title": known.title if known else import_.format,
        "columns_read": options.columns_read(import_).items(),
        "is_table": not any("." in column for column in options.columns_read(import_)),
        "unused_columns": options.unused_columns(import_),
        "items": [(line, shown(item)) for line, item in preview(import_)],
        "reasons": _reasons(import_)[:_SHOWN],
        "kept_days": KEPT_DAYS,
    }
