"""Lead through the sample project's tours, and remove the project."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.page_access import allows, refused_page
from annotate.core.permissions import can
from annotate.models import User
from evaluation.sample import removal
from evaluation.sample.project_rows import rows_of
from evaluation.sample.sample_project import sample_project
from evaluation.sample.tours import COOKIE, DISMISSED, LAST, RIGHTS, TOURS, YEAR, address_of
from training.models import Run


@allows(post="anybody")
def tour(request: HttpRequest) -> HttpResponse:
    """Go to a stop of a tour (`kind`, `stop`), or dismiss the tours (`stop=0`, or past the last)."""
    project = sample_project()
    if project is None or not can(request.user, "read", project):
        messages.error(request, "The sample project was removed, so the tour ends.")
        return _ended(request, redirect("home"))
    kind, number = request.POST.get("kind", ""), request.POST.get("stop", "")
    if number == "0" or number == str(LAST + 1):
        return _ended(request, redirect("project", project.slug))
    if kind not in TOURS or number not in map(str, range(1, LAST + 1)) or not can(request.user, RIGHTS[kind], project):
        messages.error(request, f"Choose a tour ({', '.join(TOURS)}) that you may take, and a stop from 1 to {LAST}.")
        return redirect("project", project.slug)
    response = redirect(address_of(TOURS[kind][int(number) - 1], project))
    _set(request, response, f"{kind}-{number}")
    return response


def _ended(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Remember that the tours were dismissed: on the account, or for a visitor in a cookie."""
    if isinstance(request.user, User):
        User.objects.filter(pk=request.user.pk).update(tours_dismissed_at=timezone.now())
        response.delete_cookie(COOKIE, samesite="Lax")
    else:
        _set(request, response, DISMISSED)
    return response


def _set(request: HttpRequest, response: HttpResponse, value: str) -> None:
    response.set_cookie(COOKIE, value, max_age=YEAR, httponly=True, samesite="Lax", secure=request.is_secure())


@allows(get="staff", post="staff")
def remove(request: HttpRequest) -> HttpResponse:
    """Say what goes with the sample project, and remove it."""
    if not (isinstance(request.user, User) and request.user.is_staff):
        return refused_page(
            request, Refused(403, role="Only staff of this installation can remove the sample project.")
        )
    project = sample_project()
    if project is None:
        messages.error(request, "There is no sample project here.")
        return redirect("home")
    if request.method == "POST":
        try:
            count = removal.remove(project)
            audit.record(action="sample.removed", about=project, by=request.user)
            messages.success(request, f"The sample project is removed: {count} rows, and the files of its runs.")
            return redirect("home")
        except removal.StillUsed as error:
            messages.error(request, str(error))
    rows = rows_of(project)
    context = {"project": project, "rows": sum(found.count() for found in rows.values()), "runs": rows[Run].count()}
    return render(request, "evaluation/sample/remove.html", context)
