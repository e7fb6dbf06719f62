"""Fetch a project and authorise its user, in one place, for every page inside a project."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.middleware import HtmxDetails

from annotate.core.errors import Refused, SecondFactorMissing
from annotate.core.permissions import can, require
from annotate.core.rights import Rights, action_of, checked, declare, is_for_accounts
from annotate.models import Project, User
from common.whole_numbers import row_id


class PageRequest(HttpRequest):
    """A request with what our middleware adds, for the type checker."""

    htmx: HtmxDetails


class MemberRequest(PageRequest):
    """A request of somebody who is signed in: `in_project` lets nobody else through."""

    user: User


def allows(**rights: str) -> Callable:
    """Declare who may use a page, a right for each method (`annotate.core.rights`); other methods are refused.

    Visitors are asked to sign in where a right wants an account and says nothing of a project. What it says of a row
    and the project of that row, the view refuses itself: it alone knows the row.
    """

    def refuse(request: HttpRequest, right: str, kwargs: dict[str, Any]) -> HttpResponse | None:
        if request.user.is_authenticated or not is_for_accounts(right):
            return None
        return redirect_to_login(request.get_full_path())

    return _guarding(checked(rights), refuse)


def in_project(**rights: str) -> Callable:
    """Declare who may use a page of a project; the view takes the project in place of its slug.

    A visitor is asked to sign in, where there is no such project, too; a member without the role is told which role is
    needed; to everyone else a private project does not exist.
    """
    actions = {right: action_of(right) for right in checked(rights).values()}

    def refuse(request: HttpRequest, right: str, kwargs: dict[str, Any]) -> HttpResponse | None:
        project = kwargs["project"] = Project.objects.filter(slug=kwargs.pop("slug")).first()
        if project is None:
            return _as_if_private(request)
        return _refusal(request, project, actions[right])

    return _guarding(rights, refuse)


def _guarding(rights: Rights, refuse: Callable[[HttpRequest, str, dict[str, Any]], HttpResponse | None]) -> Callable:
    """Return a decorator that declares `rights` and runs the view for whom `refuse` lets through."""
    offered = [method.upper() for method in rights] + (["HEAD"] if "get" in rights else [])

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def page(request: HttpRequest, **kwargs: Any) -> HttpResponse:
            if request.method not in offered:
                return HttpResponseNotAllowed(offered)
            return refuse(request, rights[_method(request)], kwargs) or view(request, **kwargs)

        declare(page, rights)
        return page

    return decorate


def _method(request: HttpRequest) -> str:
    method = (request.method or "").lower()
    return "get" if method == "head" else method


def _refusal(request: HttpRequest, project: Project, action: str) -> HttpResponse | None:
    try:
        require(request.user, action, project)
    except SecondFactorMissing as missing:
        return second_factor_page(request, missing)
    except Refused as refused:
        if not request.user.is_authenticated or not can(request.user, "read", project):
            return _as_if_private(request)
        return refused_page(request, refused, project=project)
    return None


def _as_if_private(request: HttpRequest) -> HttpResponse:
    """Answer alike for a project that is not there and for one that is others': nobody learns which it is."""
    if request.user.is_authenticated:
        raise Http404("No such project.")
    return redirect_to_login(request.get_full_path())


def refused_page(request: HttpRequest, refused: Refused, *, project: Project | None = None) -> HttpResponse:
    """Return a whole page that says no: what is wrong, and what to do."""
    context = {"errors": refused.errors, "project": project}
    response = render(request, "annotate/core/refused.html", context, status=refused.status)
    if refused.retry_after:
        response["Retry-After"] = str(refused.retry_after)
    return response


def acted(request: HttpRequest, project: Project, act: Callable[[], object], page: str, **address: Any) -> HttpResponse:
    """Do what a form asks for and lead to that page of the project; a refusal is a page that says no."""
    try:
        act()
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect(page, slug=project.slug, **address)


def chosen_row(rows: Any, pk: str, field: str, missing: str) -> Any:
    """Return the row that a form has chosen among these. Raises Refused, 400, with the words for a missing one."""
    row = rows.filter(pk=row_id(pk)).first()
    if row is None:
        raise Refused(400, **{field: missing})
    return row


def second_factor_page(request: HttpRequest, missing: SecondFactorMissing) -> HttpResponse:
    """Return a page that leads a member to set up the second factor that their project wants."""
    return render(request, "annotate/core/second_factor.html", {"errors": missing.errors}, status=missing.status)


def way_back(request: HttpRequest, name: str = "back") -> str:
    """Return the page of this site that a form, else a query, names as the one that somebody came from; "" for none."""
    address = request.POST.get(name) or request.GET.get(name, "")
    is_ours = url_has_allowed_host_and_scheme(address, {request.get_host()}, request.is_secure())
    return address if is_ours and "/" in address else ""  # a bare word would be taken for the name of a page
