"""Show the form that invites many, what a list would do, and the invitations of each batch."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.models import Project, Role
from annotate.projects.bulk_invitations import actions, address_lists, present
from common.texts import spreadsheet_cell

_ON_A_PAGE = 100


@never_cache
@in_project(get="manage", post="manage")
def invitations(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the batches and the form; check a list, and send it when all is right or what is wrong is left out."""
    form = {name: request.POST.get(name, "") for name in ("people", "role", "language", "batch", "leave_out")}
    if request.method != "POST":
        return _form(request, project, form)
    try:
        form["people"] = _list(request)
        defaults = address_lists.Defaults(
            role=form["role"] or Role.ANNOTATOR, language=form["language"].strip(), batch=form["batch"].strip()
        )
        preview = actions.preview(project=project, by=request.user, text=form["people"], defaults=defaults)
        if "send" not in request.POST:
            return _form(request, project, form, preview=preview)
        if preview.wrong and not form["leave_out"]:
            left_out = f"Nothing was sent. Correct the {len(preview.wrong)} lines below, or choose to leave them out."
            return _form(request, project, form, preview=preview, errors={"people": left_out}, status=400)
        made = actions.send(project=project, by=request.user, right=preview.right)
    except Refused as refused:
        return _form(request, project, form, errors=refused.errors, status=refused.status)
    way = "The e-mails are being sent." if settings.EMAIL_NOTICES_FROM else "Download the links and send them."
    messages.success(request, f"{len(made)} people are invited. {way}")
    names = {invitation.batch for invitation in made}
    return redirect(_batch_page(project, names.pop())) if len(names) == 1 else redirect("invitations", project.slug)


@never_cache
@in_project(get="manage")
def batch(request: MemberRequest, project: Project) -> HttpResponse:
    """Show each invitation of a batch and what became of it; the figures renew themselves while mails go out."""
    name = _name(request.GET)
    found = present.batch_named(project, name)
    if found is None:
        return refused_page(request, Refused(404, batch="There is no such batch of invitations here."), project=project)
    context: dict[str, Any] = {"project": project, "batch": found, "sends_mail": bool(settings.EMAIL_NOTICES_FROM)}
    if request.htmx and not request.htmx.boosted:
        return render(request, "annotate/projects/invitation_batch.html#progress", context)
    rows = project.invitations.filter(batch=name).select_related("accepted_by").order_by("id")
    page = Paginator(rows, _ON_A_PAGE).get_page(request.GET.get("page"))
    context |= {"page": page, "rows": [(row, present.state_of(row)) for row in page]}
    return render(request, "annotate/projects/invitation_batch.html", context)


@in_project(post="manage")
def send_again(request: MemberRequest, project: Project) -> HttpResponse:
    def act(name: str) -> str:
        sent, recent = actions.send_again(project=project, by=request.user, batch=name)
        return f"{sent} e-mails are being sent again." + (
            f" {recent} were not sent again, because they were sent within the last hour." if recent else ""
        )

    return _act(request, project, act)


@in_project(post="manage")
def withdraw(request: MemberRequest, project: Project) -> HttpResponse:
    def act(name: str) -> str:
        n = actions.withdraw(project=project, by=request.user, batch=name)
        return f"{n} invitations are withdrawn; their links no longer work. People who accepted stay members."

    return _act(request, project, act)


@never_cache
@in_project(get="manage")
def links(request: MemberRequest, project: Project) -> HttpResponse:
    """Return the links of a batch's open invitations, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["email", "role", "language", "batch", "until", "link"])
    for row, link in actions.links(project=project, by=request.user, batch=_name(request.GET)):
        cells = [row.email, row.role, row.language, row.batch, f"{row.expires_at:%Y-%m-%d}", link]
        writer.writerow([spreadsheet_cell(cell) for cell in cells])
    disposition = f'attachment; filename="{project.slug}-invitations.csv"'
    return HttpResponse(
        text.getvalue(), content_type="text/csv; charset=utf-8", headers={"Content-Disposition": disposition}
    )


def _act(request: MemberRequest, project: Project, act: Callable[[str], str]) -> HttpResponse:
    name = _name(request.POST)
    try:
        messages.success(request, act(name))
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect(_batch_page(project, name))


def _list(request: MemberRequest) -> str:
    file = request.FILES.get("file")
    return address_lists.decoded(file.read()) if file is not None else request.POST.get("people", "")


def _name(query: Any) -> str:
    return query.get("batch", "").replace("\x00", "")


def _batch_page(project: Project, name: str) -> str:
    return f"{reverse('invitation-batch', args=[project.slug])}?{urlencode({'batch': name})}"


def _form(
    request: MemberRequest,
    project: Project,
    form: dict[str, str],
    *,
    preview: actions.Preview | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "project": project,
        "form": form,
        "preview": preview,
        "errors": errors or {},
        "roles": Role.choices,
        "batches": present.batches_of(project),
        "sends_mail": bool(settings.EMAIL_NOTICES_FROM),
        "most": address_lists.MOST_LINES,
    }
    return render(request, "annotate/projects/invitations.html", context, status=status)
