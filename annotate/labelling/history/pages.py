"""Show one's own annotations in a project, each with its receipt: whether it counts, why not, and what it went into."""

from __future__ import annotations

from datetime import timedelta

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.http import urlencode

from annotate.core.page_access import MemberRequest, in_project
from annotate.labelling.history import receipt as receipts
from annotate.models import Project, Status

PER_PAGE = 25


@in_project(get="judge")
def history(request: MemberRequest, project: Project) -> HttpResponse:
    kind, status = request.GET.get("kind", ""), request.GET.get("status", "")
    kind = kind if kind in receipts.TITLES else ""
    status = status if status in Status.values else ""
    row_keys = receipts.row_keys(project=project, user=request.user, kind=kind, status=status)
    page = Paginator(row_keys, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "page": page,
        "receipts": receipts.receipts(list(page)),
        "kind": kind,
        "status": status,
        "kinds": list(receipts.TITLES.items()),
        "statuses": Status.values,
        "changeable_since": timezone.now() - timedelta(minutes=project.edit_minutes),
        "query": urlencode({name: value for name, value in (("kind", kind), ("status", status)) if value}),
    }
    return render(request, "annotate/labelling/history.html", context)
