"""The page of one item, or of why there is none: what it shows, what is kept in the browser, what waits elsewhere."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import reswap

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, refused_page, way_back
from annotate.labelling import actions as feedback
from annotate.labelling import assignment_lifecycle, form_input, going_on
from annotate.labelling import flagging as flags
from annotate.labelling.forms.needed_fields import form_needs
from annotate.labelling.forms.verdicts import VERDICTS
from annotate.labelling.pages.progress import done_today, position_of
from annotate.labelling.scales.declared import Asked, asks_one_thing, scales_in
from annotate.models import Assignment, Guideline, Project, User
from annotate.models.feedback import Feedback
from annotate.models.prompts import has_items
from annotate.projects import member_languages
from annotate.projects.wellbeing import actions as harm_budget
from common.whole_numbers import row_id

ASKED = {"rate": "asks_ratings", "compare": "asks_comparisons", "rank": "asks_rankings", "write": "asks_answers"}
KEPT_TO = {
    "rate": "answers to rate",
    "compare": "answers to compare",
    "rank": "answers to rank",
    "write": "prompts to answer",
}
DRAFTS_KEPT = timedelta(days=3)
T = TypeVar("T")
# A lesson has told what is right, and a decision has a page of its own.
NOT_UNDONE_HERE = (Assignment.Purpose.TUTORIAL, Assignment.Purpose.ADJUDICATION)


def with_time(assignment: Assignment, user: User, act: Callable[[], T]) -> T:
    """Do it, if need be after taking the item up again: who comes late loses nothing while its place is free."""
    try:
        return act()
    except Refused as refused:
        if refused.status != 410:
            raise
        assignment_lifecycle.again(assignment=assignment, by=user)
        return act()


def submit(request: MemberRequest, assignment: Assignment) -> Feedback:
    """Submit the item's form. Raises Refused."""
    return _submit(request, assignment, feedback.submit)


def submit_and_draw(request: MemberRequest, assignment: Assignment, kind: str | None) -> going_on.Step:
    """Submit the form of an item that was read with its facts, and draw the next one with it. Raises Refused."""
    return _submit(request, assignment, partial(going_on.submit_and_draw, kind=kind))


def _submit(request: MemberRequest, assignment: Assignment, act: Callable[..., T]) -> T:
    def say() -> T:
        return act(assignment=assignment, by=request.user, **form_input.submission(request, assignment))

    return with_time(assignment, request.user, say)


def wanted_kind(request: MemberRequest, project: Project) -> str | None:
    """Return the kind of item that the address keeps to, if the project asks for it."""
    kind = request.GET.get("kind")
    return kind if kind in Assignment.Kind.values and getattr(project, ASKED[kind]) else None


def kept_query(request: MemberRequest) -> str:
    """Return the query with the kind that an annotator keeps to, and where they came from: it travels from form to
    form."""
    kind = request.GET.get("kind", "")
    kept = {"kind": kind if kind in Assignment.Kind.values else "", "back": way_back(request)}
    query = urlencode({name: value for name, value in kept.items() if value})
    return query and f"?{query}"


def show(
    request: MemberRequest,
    project: Project,
    assignment: Assignment | None,
    entered: form_input.Entered | None = None,
    *,
    editing: bool = False,
    send_to: str = "",
    sent: str = "",
    shown_as: str = "",
) -> HttpResponse:
    """Show the page of an item, or of what there is instead. `send_to`: where its form goes, when not to the next
    item. `sent`: what was sent just now, in words. `shown_as`: what the page already shows of this item was drawn under
    these guidelines and scales; where they are still in force, only what stands beside the item is sent."""
    if assignment is not None and assignment.user_id != request.user.pk:
        refused = Refused(403, assignment="Somebody else has this item. Continue with your next one.")
        return refused_page(request, refused, project=project)
    entered = entered or (form_input.taken_back(assignment) if assignment else form_input.Entered())
    closed = project.assignments.filter(user=request.user, state__in=["submitted", "skipped"]).exclude(
        purpose__in=NOT_UNDONE_HERE
    )
    last = closed.order_by("closed_at").last()
    closed_at = last.closed_at if last else None
    has_annotated = bool(sent) and last is not None and last.state == Assignment.State.SUBMITTED  # and not skipped
    done = done_today(project, request.user)
    context = item_context(request, project, assignment, entered, done=done, editing=editing, send_to=send_to)
    guideline = context["guideline"]
    context |= {
        "run_out": _run_out(project, request.user, assignment),
        "done_today": done,
        "left_today": max(project.daily_goal - done, 0),
        "is_new_kind": bool(assignment and last and last.kind != assignment.kind and not editing),
        "sent": sent,
        "has_reached_goal": has_annotated and 0 < done == project.daily_goal,
        "undoable": last if last and not editing and feedback.may_change(last) else None,
        "guideline_is_new": bool(guideline and closed_at and guideline.created_at > closed_at),
        "waiting": None if assignment else _waiting(project, request.user),
        "only": KEPT_TO.get(wanted_kind(request, project) or "", ""),
        "back": way_back(request),
        "unread": "" if assignment else member_languages.why_unread(project, request.user),
        "withheld": "" if assignment else harm_budget.why_withheld(project, request.user),
        "oob": request.htmx,
    }
    page = "annotate/labelling/labelling.html"
    if shown_as and shown_as == context["drawn_as"]:
        return reswap(render(request, f"{page}#beside", context), "none")
    return render(request, f"{page}#reply" if request.htmx else page, context, status=entered.status)


def item_context(
    request: MemberRequest,
    project: Project,
    assignment: Assignment | None,
    entered: form_input.Entered,
    *,
    done: int,
    before: Sequence[Assignment] = (),
    editing: bool = False,
    send_to: str = "",
) -> dict[str, Any]:
    """Return what an item and its form are drawn from. `done` were annotated today, and `before` come before this
    one."""
    scales, guideline = scales_in(project), project.guideline
    goes_on = assignment is not None and not editing and not send_to
    return {
        **flag_context(request, project, assignment),
        "entered": entered,
        "editing": editing,  # an earlier annotation is changed: the form goes back to where it came from
        "send_to": send_to or _send_to(request, project, assignment, editing),
        "goes_on": goes_on,  # to the next item, which may be here already
        "scales": scales,
        "at_once": assignment is not None and not editing and asks_one_thing(assignment.kind, scales),
        "history_url": reverse("annotate-history", args=[project.slug]),
        "verdicts": VERDICTS,
        "stars": ["1", "2", "3", "4", "5"],
        "needs": json.dumps(form_needs(Assignment.Kind(assignment.kind), scales, assignment.shown))
        if assignment
        else "",
        "skip_reasons": form_input.SKIP_REASONS,
        "idempotency_key": (entered.is_sent and request.POST.get("idempotency_key")) or uuid.uuid4(),
        "shown_at": f"{time.time() - entered.seconds:.2f}",
        "position": position_of(assignment, done, before) if assignment and not editing else None,
        "guideline": guideline,
        "drawn_as": _drawn_as(guideline, scales),
        "veil": harm_budget.veil(assignment.prompt, request.user) if assignment else "",
    }


def _drawn_as(guideline: Guideline | None, scales: Asked) -> str:
    declared = sorted(scale.pk for kind in scales.values() for scale in kind if scale.pk)
    return ".".join(map(str, [guideline.version if guideline else 0, *declared]))


def flag_context(request: MemberRequest, project: Project, assignment: Assignment | None) -> dict[str, object]:
    """Return what the form for flags is drawn from; the rest of an item's page needs it, too."""
    return {
        "project": project,
        "query": kept_query(request),
        "assignment": assignment,
        "answers": list(zip("ABCDEF", assignment.completions, strict=False)) if assignment else [],
        "flag_reasons": flags.REASONS,
        "act_key": uuid.uuid4(),  # of what is done with the item beside judging it
    }


def _run_out_of(project: Project, user: User) -> QuerySet[Assignment]:
    """Return items of theirs whose time ran out: one may have begun on them. As long as a browser keeps drafts."""
    now = timezone.now()
    run_out = project.assignments.filter(user=user, state__in=[Assignment.State.OPEN, Assignment.State.EXPIRED])
    return run_out.filter(expires_at__range=(now - DRAFTS_KEPT, now)).exclude(purpose__in=NOT_UNDONE_HERE)


def _run_out(project: Project, user: User, shown: Assignment | None) -> list[int]:
    others = _run_out_of(project, user).exclude(pk=shown.pk if shown else 0)
    return list(others.order_by("pk").values_list("pk", flat=True)[:50])


def run_out_and_wanted(request: MemberRequest, project: Project) -> Assignment | None:
    """Return the item that `?item=12` goes back to; what cannot be shown again is as if it had not been asked for."""
    pk = row_id(request.GET.get("item", ""))
    if request.method == "POST" or not pk:
        return None
    own_assignments = _run_out_of(project, request.user).filter(pk=pk)
    return (
        harm_budget.within(own_assignments, project, request.user).select_related("project", "user", "prompt").first()
    )


def _send_to(request: MemberRequest, project: Project, assignment: Assignment | None, editing: bool) -> str:
    if assignment is not None and editing:
        return reverse("annotate-edit", args=[project.slug, assignment.pk])
    return reverse("annotate", args=[project.slug]) + kept_query(request)


def _waiting(project: Project, user: User) -> str:
    """Return why there is nothing to annotate: `empty`, `others` when the rest is in other hands, or `done`."""
    if not has_items(project):
        return "empty"
    others = project.assignments.live().filter(user__is_simulated=user.is_simulated).exclude(user=user)
    readable = member_languages.within(others, member_languages.languages_of(project, user))
    return "others" if readable.exists() else "done"
