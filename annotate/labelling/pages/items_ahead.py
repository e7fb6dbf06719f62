"""Send the annotator's page its next items before it needs them, and take back those that it did not show.

Only the page's script asks: without JavaScript each item comes when the one before it was sent.
"""

from __future__ import annotations

from django.http import HttpResponse
from django.template.loader import render_to_string

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project
from annotate.labelling import form_input, handing_ahead
from annotate.labelling.pages.item_page import item_context, wanted_kind
from annotate.labelling.pages.progress import done_today
from annotate.models import Project
from common.whole_numbers import row_ids


@in_project(post="judge")
def items_ahead(request: MemberRequest, project: Project) -> HttpResponse:
    """Send the items in hand that the page does not `have` yet, each as it will be shown, in their order."""
    try:
        held = handing_ahead.hand_ahead(project=project, user=request.user, kind=wanted_kind(request, project))
    except Refused:  # what comes before the next item is said when that is asked for
        return HttpResponse(status=204)
    known, done = _posted_pks(request), done_today(project, request.user)
    parts = []
    for number, assignment in enumerate(held):
        if assignment.pk not in known:
            entered = form_input.taken_back(assignment)
            context = item_context(request, project, assignment, entered, done=done, before=held[:number])
            context["is_new_kind"] = number > 0 and held[number - 1].kind != assignment.kind
            parts.append(render_to_string("annotate/labelling/item/task.html", context, request))
    return HttpResponse("".join(parts))


@in_project(post="judge")
def give_back(request: MemberRequest, project: Project) -> HttpResponse:
    """Give back what the page had and did not show, when it is closed."""
    handing_ahead.give_back(project=project, user=request.user, pks=_posted_pks(request))
    return HttpResponse(status=204)


def _posted_pks(request: MemberRequest) -> set[int]:
    return set(row_ids(request.POST.get("have", "").split()[:100]))
