"""Show the audit trail of a project: who changed what, and which annotations changed their status, newest first."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import render

from annotate.core.audit import entries_of
from annotate.core.page_access import MemberRequest, in_project
from annotate.labelling.bulk_status import KINDS
from annotate.models import Project, StatusChange

PER_PAGE = 100


@in_project(get="manage")
def audit_trail(request: MemberRequest, project: Project) -> HttpResponse:
    action, username = request.GET.get("action", ""), request.GET.get("who", "")
    entries = entries_of(project, action=action, username=username)
    context = {
        "project": project,
        "page": Paginator(entries, PER_PAGE).get_page(request.GET.get("page")),
        "actions": project.audit.order_by("action").values_list("action", flat=True).distinct(),  # type: ignore[attr-defined]
        "people": project.audit.order_by("actor__username").values_list("actor__username", flat=True).distinct(),  # type: ignore[attr-defined]
        "action": action,
        "who": username,
        "changes": status_changes(project)[:PER_PAGE],
    }
    return render(request, "annotate/labelling/audit.html", context)


def status_changes(project: Project) -> QuerySet[StatusChange]:
    """Return the ledger of status changes that belong to this project."""
    of_project = Q()
    for kind, table in KINDS.items():
        of_project |= Q(kind=kind, feedback_id__in=table.objects.filter(project=project).order_by().values("pk"))
    return StatusChange.objects.filter(of_project).select_related("by").order_by("-id")
