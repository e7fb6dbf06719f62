"""One's own keys for the annotation page."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import Resolver404, resolve

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, allows, way_back
from annotate.core.permissions import can
from annotate.labelling.shortcuts import actions
from annotate.labelling.shortcuts.keys import DEFAULTS, FIXED, GROUPS, merged
from annotate.models import Project


@allows(get="account", post="account")
def shortcuts(request: MemberRequest) -> HttpResponse:
    keys, errors, status = merged(request.user.shortcuts), {}, 200
    if request.method == "POST":
        try:
            return _changed(request)
        except Refused as refused:
            keys, errors, status = keys | _sent(request), refused.errors, refused.status
    groups = [
        (group.title, [(action, keys[action.name], errors.get(action.name, "")) for action in group.actions])
        for group in GROUPS
    ]
    context = {
        "groups": groups,
        "errors": errors,
        "fixed": FIXED,
        "own": request.user.shortcuts,
        "back": way_back(request),
        "project": _project(request),
    }
    return render(request, "annotate/labelling/shortcuts.html", context, status=status)


def _changed(request: MemberRequest) -> HttpResponse:
    if "reset" in request.POST:
        actions.reset(user=request.user)
        messages.success(request, "All keys are reset to the defaults.")
    else:
        actions.change(user=request.user, keys=_sent(request))
        messages.success(request, "Your keys are saved. The buttons show them.")
    return redirect(way_back(request) or "shortcuts")


def _sent(request: HttpRequest) -> dict[str, str]:
    return {name: request.POST[name] for name in DEFAULTS if name in request.POST}


def _project(request: MemberRequest) -> Project | None:
    """Return the project from whose page somebody came, for the bar."""
    try:
        slug = resolve(urlsplit(way_back(request)).path).kwargs.get("slug", "")
    except Resolver404:
        return None
    project = Project.objects.filter(slug=slug).first()
    return project if project is not None and can(request.user, "read", project) else None
