"""Show managers the packages of work, the form that gives prompts to people, and what is left of a package."""

from __future__ import annotations

from datetime import datetime, time

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling.work_packages import actions, present
from annotate.models import Project, WorkPackage
from common.whole_numbers import whole_number

_EXAMPLES, _CHOICES = 10, 200
_SELECTED = ("category", "language", "source", "never_annotated", "limit")


@never_cache
@in_project(get="manage", post="manage")
def packages(request: MemberRequest, project: Project) -> HttpResponse:
    """List packages and, once prompts were looked for, show how many there are and the form that gives them."""
    if request.method != "POST":
        return _show(request, project, request.GET)
    try:
        package = actions.give(
            project=project, by=request.user, selection=_selection(request.POST), terms=_terms(request.POST)
        )
    except Refused as refused:
        return _show(request, project, request.POST, errors=refused.errors, status=refused.status)
    messages.success(request, f"{package.name} is assigned. These people get it first.")
    return redirect("package", project.slug, package.pk)


@never_cache
@in_project(get="manage", post="manage")
def package(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show what each person has left, and take it back: of one person or, without a name, of all."""
    work = get_object_or_404(WorkPackage.objects.select_related("project", "created_by"), project=project, pk=pk)
    if request.method == "POST":
        try:
            n = actions.take_back(package=work, by=request.user, username=request.POST.get("username", ""))
        except Refused as refused:
            return refused_page(request, refused, project=project)
        messages.success(request, f"{n} prompts are taken back; the queue gives them to others. Annotations stay.")
        return redirect("package", project.slug, pk)
    shares = present.shares_of(work)
    total = {name: sum(getattr(share, name) for share in shares) for name in ("given", "done", "left", "released")}
    context = {"project": project, "package": work, "shares": shares, "total": total}
    return render(request, "annotate/labelling/package.html", context)


def _show(
    request: MemberRequest,
    project: Project,
    query: QueryDict,
    *,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    selection = _selection(query)
    context = {
        "project": project,
        "packages": present.packages_of(project),
        "form": query,
        "people_chosen": query.getlist("people"),
        "errors": errors or {},
        "selection": selection,
        "categories": _values(project, "category"),
        "languages": _values(project, "language"),
        "sources": _values(project, "source"),
        "most": actions.MOST_PROMPTS,
    }
    if set(query) & set(_SELECTED):
        found = actions.matching(project, selection)
        n = min(found.count(), max(0, selection.limit))
        members = list(actions.assignable(project))
        context |= {
            "is_looked_for": True,
            "n": n,
            "examples": found[: min(n, _EXAMPLES)],
            "members": members,
            "n_invited": project.invitations.open().count(),
        }
    return render(request, "annotate/labelling/packages.html", context, status=status)


def _selection(query: QueryDict) -> actions.Selection:
    limit = query.get("limit", "").strip()
    return actions.Selection(
        category=query.get("category", "").replace("\x00", ""),
        language=query.get("language", "").replace("\x00", ""),
        source=query.get("source", "").replace("\x00", ""),
        never_annotated=query.get("never_annotated") == "on",
        limit=whole_number(limit, -1, digits=8) if limit else actions.MOST_PROMPTS,
    )


def _terms(query: QueryDict) -> actions.Terms:
    each = query.get("per_prompt", "").strip()
    return actions.Terms(
        name=query.get("name", ""),
        people=query.getlist("people"),
        per_prompt=whole_number(each, 0, digits=6) if each else None,
        is_exclusive=query.get("others") != "on",
        until=_end_of(query.get("until", "")),
    )


def _end_of(day: str) -> datetime | None:
    """Return the last moment of that day, as the installation's clock has it. Refuses what is no day."""
    if not day.strip():
        return None
    try:
        date = parse_date(day.strip())
    except ValueError:
        date = None
    if date is None:
        raise Refused(until=f"{day[:40]!r} is not a date; use the form 2026-12-24, or leave it empty.")
    return timezone.make_aware(datetime.combine(date, time(23, 59, 59)))


def _values(project: Project, field: str) -> list[str]:
    """Return the values of that field among the prompts, to choose from."""
    rows = project.prompts.filter(side="train").exclude(**{field: ""}).order_by(field)
    return list(rows.values_list(field, flat=True).distinct()[:_CHOICES])
