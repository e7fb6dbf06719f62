"""Fetch and authorise, in one place, for every page inside a project."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django_htmx.middleware import HtmxDetails

from annotate.core.errors import Refused
from annotate.core.permissions import can, require
from annotate.models import Project, User


class PageRequest(HttpRequest):
    """With what our middleware adds, for the type checker."""

    htmx: HtmxDetails


class MemberRequest(PageRequest):
    """Where `in_project` lets nobody through who is not signed in."""

    user: User


def in_project(action: str = "read") -> Callable:
    """The view below takes the project in place of its slug, and runs for those who may do `action` there.

    A visitor is asked to sign in; a member without the role is told which role is needed; to everyone else a
    private project does not exist.
    """

    def decorate(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def page(request: HttpRequest, slug: str, **kwargs) -> HttpResponse:
            project = get_object_or_404(Project, slug=slug)
            refusal = _refusal(request, project, action)
            return refusal or view(request, project, **kwargs)

        return page

    return decorate


def _refusal(request: HttpRequest, project: Project, action: str) -> HttpResponse | None:
    try:
        require(request.user, action, project)
    except Refused as refused:
        if not request.user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        if not can(request.user, "read", project):
            raise Http404("No such project.") from refused
        return refused_page(request, refused, project=project)
    return None


def refused_page(request: HttpRequest, refused: Refused, *, project: Project | None = None) -> HttpResponse:
    """A whole page that says no: what is wrong, and what to do."""
    context = {"errors": refused.errors, "project": project}
    response = render(request, "annotate/refused.html", context, status=refused.status)
    if refused.retry_after:
        response["Retry-After"] = str(refused.retry_after)
    return response
