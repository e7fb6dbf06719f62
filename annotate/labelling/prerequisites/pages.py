"""Show what comes before the next item: why one is paused, a message, the guidelines, the way to the tutorial."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django_htmx.http import HttpResponseClientRedirect

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.models import Membership, Project
from common.whole_numbers import whole_number


def redirects_to_prerequisite(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Wrap an annotator's view that may ask for the next item: where something comes before it, the reply leads
    there."""

    @wraps(view)
    def page(request: HttpRequest, project: Project, **kwargs) -> HttpResponse:
        try:
            return view(request, project, **kwargs)
        except prerequisites.NotYet:
            address = reverse("reading", args=[project.slug])
            is_htmx = getattr(request, "htmx", False)
            return HttpResponseClientRedirect(address) if is_htmx else redirect(address)

    return page


@never_cache
@in_project(get="judge", post="judge")
def reading(request: MemberRequest, project: Project) -> HttpResponse:
    if request.method == "POST":
        return _read(request, project)
    member = prerequisites.member_of(project, request.user)
    try:
        prerequisites.check(project, member)
    except prerequisites.NotYet as not_yet:
        if not_yet.prerequisite == prerequisites.TUTORIAL:
            return redirect("tutorial", project.slug)
        assert member is not None  # nothing comes before the next item of somebody who is no member
        return render(request, "annotate/labelling/reading.html", _context(project, member, not_yet))
    return redirect("annotate", project.slug)


def _read(request: MemberRequest, project: Project) -> HttpResponse:
    """Record what was read; the button's `what` says which of the two."""
    version = request.POST.get("version", "")
    try:
        if request.POST.get("what") == prerequisites.WARNING:
            prerequisites.notice_read(project=project, user=request.user)
        else:
            number = whole_number(version, None, digits=8)
            prerequisites.guidelines_read(project=project, user=request.user, version=number)
    except Refused as refused:
        if refused.status != 409:
            return refused_page(request, refused, project=project)
        messages.warning(request, " ".join(refused.errors.values()))
        return redirect("reading", project.slug)
    return redirect("annotate", project.slug)


def _context(project: Project, member: Membership, not_yet: prerequisites.NotYet) -> dict:
    guideline = project.guideline
    earlier = project.guidelines.filter(version=member.guideline_read).first() if member.guideline_read else None
    return {
        "project": project,
        "prerequisite": not_yet.prerequisite,
        "member": member,
        "standing": gold.standing(member),
        "guideline": guideline,
        "earlier": earlier,
        "changes": prerequisites.diff_lines(earlier.text, guideline.text) if earlier and guideline else [],
    }
