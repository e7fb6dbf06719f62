"""Show imports: the form, the list, and one import's page, which moves while it works."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from typing import Any, cast

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.core.large_uploads import takes_files
from annotate.core.named_values import named_values
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import can
from annotate.data import formats
from annotate.data.formats.mapping import COLUMNS
from annotate.data.imports import options
from annotate.data.imports.actions import Order, cancel_import, go_on, preview, start_import
from annotate.data.imports.engine import MOST_NAMED
from annotate.data.imports.kept_files import KEPT_DAYS
from annotate.data.imports.present import shown
from annotate.data.rows import row_files
from annotate.models import AnnotatorKind, Import, Project, User
from common.texts import spreadsheet_cell

_SHOWN, _LINES_SHOWN = 50, 6
UNDER_WAY = (Import.State.QUEUED, Import.State.RUNNING)
# What was added, in the order in which it is told.
_KINDS = ("comparisons", "ratings", "rankings", "demonstrations", "spans", "flags", "attacks", "prompts", "completions")
_FIELDS = ("source", "format", "container", "columns", "judge")


@takes_files
@in_project(get="research", post="research")
def imports(request: MemberRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _list(request, project, _form(QueryDict()), {})
    form = _form(request.POST)
    file = request.FILES.get("file")
    try:
        if file is None:
            raise Refused(400, file="Choose a file.")
        order = Order(
            **{name: form[name] for name in ("source", "format", "container", "judge")},
            columns=named_values(form["columns"], "columns"),
            link=form["link"],
            dry_run=form["dry_run"],
        )
        import_ = start_import(
            project=project, file=cast(Any, file), file_name=file.name or "upload", order=order, by=request.user
        )
    except Refused as refused:
        return _list(request, project, form, refused.errors, refused.status)
    return redirect("import", project.slug, import_.pk)


@in_project(get="research")
def one_import(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    import_ = get_object_or_404(Import.objects.select_related("created_by"), project=project, pk=pk)
    context = _progress(import_) | {"project": project, "import": import_}
    if request.htmx and not request.htmx.boosted:
        answer = render(request, "annotate/data/import.html#progress", context)
        if context["bad"] and not context["under_way"]:
            answer["HX-Refresh"] = "true"  # it has just ended, and what was not usable stands elsewhere
        return answer
    return render(request, "annotate/data/import.html", context | _beginning(import_))


@in_project(post="research")
def act(request: MemberRequest, project: Project, pk: int, what: str) -> HttpResponse:
    """Cancel an import or go on with it; `what` is cancel or go-on."""
    import_ = get_object_or_404(Import, project=project, pk=pk)
    try:
        (cancel_import if what == "cancel" else go_on)(import_, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "It ends after the rows under way." if what == "cancel" else "It is under way.")
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


def _list(
    request: HttpRequest, project: Project, form: dict[str, Any], errors: dict[str, str], status: int = 200
) -> HttpResponse:
    context = {
        "project": project,
        "form": form,
        "errors": errors,
        "imports": [
            _progress(import_) | {"import": import_}
            for import_ in project.imports.select_related("created_by")[:_SHOWN]
        ],
        "formats": [*formats.FORMATS.values(), *formats.INCOMING.values()],
        "containers": row_files.FORMATS,
        "judges": AnnotatorKind.choices,
        "columns": COLUMNS,
        "may_link": can(cast(User, request.user), "manage", project),
    }
    return render(request, "annotate/data/imports.html", context, status=status)


def _form(query: QueryDict) -> dict[str, Any]:
    form: dict[str, Any] = {name: query.get(name, "").strip() for name in _FIELDS}
    form["format"], form["container"] = form["format"] or "auto", form["container"] or "auto"
    return form | {"link": bool(query.get("link")), "dry_run": query.get("do") == "check"}


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
        "left": None if seconds_left is None else _in_words(seconds_left),
        "added": [(kind, counts[kind]) for kind in _KINDS if counts.get(kind)],
        "rows": counts.get("rows", 0),
        "already": counts.get("already", 0),
        "bad": counts.get("bad", 0),
        "named": min(counts.get("bad", 0), MOST_NAMED),
        "may_go_on": import_.state in (Import.State.CHECKED, Import.State.FAILED, Import.State.CANCELLED),
    }


def _in_words(seconds: float) -> str:
    """Return how long is left, and not the hour when it will be over: nobody knows which clock is theirs."""
    if seconds < 90:
        return f"about {max(5, 5 * round(seconds / 5))} seconds left"
    minutes = round(seconds / 60)
    return f"about {minutes} minutes left" if minutes < 90 else f"about {round(minutes / 60)} hours left"


def _reasons(import_: Import) -> list[tuple[str, int, list[int]]]:
    """Return each reason of bad lines, how many lines have it, and the first of them; the most frequent first."""
    lines: dict[str, list[int]] = defaultdict(list)
    for line, reason in import_.problems.values_list("line", "reason"):
        lines[reason].append(line)
    reasons = ((reason, len(line_numbers), line_numbers[:_LINES_SHOWN]) for reason, line_numbers in lines.items())
    return sorted(reasons, key=lambda reason_lines: (-reason_lines[1], reason_lines[2]))


def _beginning(import_: Import) -> dict[str, Any]:
    return {
        "columns_read": options.columns_read(import_).items(),
        "is_table": not any("." in column for column in options.columns_read(import_)),
        "unused_columns": options.unused_columns(import_),
        "items": [(line, shown(item)) for line, item in preview(import_)],
        "reasons": _reasons(import_)[:_SHOWN],
        "kept_days": KEPT_DAYS,
    }
