"""The annotator's workplace: one item at a time, and the next one as soon as an annotation is sent.

Everything works by POST and redirect; with htmx the same views answer with the page's own fragment. Nothing in what
these views send names a model.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django_htmx.http import HttpResponseClientRedirect, reswap

from annotate.core.errors import Refused
from annotate.core.form_idempotency import once
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle, form_input
from annotate.labelling import flagging as flags
from annotate.labelling.forms.verdicts import VERDICTS
from annotate.labelling.prerequisites.actions import NotYet
from annotate.labelling.prerequisites.pages import redirects_to_prerequisite
from annotate.labelling.scales.declared import scales_in
from annotate.labelling.shortcuts.keys import merged
from annotate.models import Assignment, Completion, Project, Split, User
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
# A lesson has told what is right, and a decision has a page of its own.
NOT_UNDONE_HERE = (Assignment.Purpose.TUTORIAL, Assignment.Purpose.ADJUDICATION)


@in_project(get="judge", post="judge")
@redirects_to_prerequisite
def annotate(request: MemberRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _show_next(request, project)
    assignment = _posted_assignment(request, project)
    return _submit(request, project, assignment)


@in_project(post="judge")
@redirects_to_prerequisite
def skip(request: MemberRequest, project: Project) -> HttpResponse:
    assignment = _posted_assignment(request, project)
    reason = request.POST.get("other", "").strip() or request.POST.get("reason", "")

    def put_aside() -> None:
        assignment_lifecycle.skip(assignment=assignment, by=request.user, reason=reason)

    try:
        _once(request, "skip", assignment, lambda: with_time(assignment, request.user, put_aside))
    except Refused as refused:
        return show(request, project, assignment, form_input.beside(assignment, refused))
    return _go_on(request, project)


@in_project(post="judge")
@redirects_to_prerequisite
def undo(request: MemberRequest, project: Project) -> HttpResponse:
    assignment = _posted_assignment(request, project)
    try:
        _once(request, "undo", assignment, lambda: feedback.undo(assignment=assignment, by=request.user))
    except Refused as refused:
        if request.htmx:
            current = project.assignments.live().filter(user=request.user).order_by("id").first()
            return show(request, project, current, form_input.beside(current, refused))
        return refused_page(request, refused, project=project)
    if not request.htmx:
        return _redirect(request, project)
    is_back = project.assignments.live().filter(pk=assignment.pk, user=request.user).exists()
    return show(request, project, assignment) if is_back else _show_next(request, project)


@in_project(post="judge")
def keep(request: MemberRequest, project: Project) -> HttpResponse:
    """The page says now and then that its item is being worked on, so that it does not run out meanwhile."""
    try:
        assignment_lifecycle.keep(assignment=_posted_assignment(request, project), by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return HttpResponse(status=204)


@in_project(get="judge, mine", post="judge, mine")
def edit(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """What was said of an item, in its form, to be changed while the project lets it."""
    assignment = _assignment(project, pk)
    if request.method != "POST":
        if (problem := _why_not_editable(assignment, request.user)) is not None:
            return refused_page(request, problem, project=project)
        return show(request, project, assignment, editing=True)
    try:
        feedback.revise(assignment=assignment, by=request.user, **_said(request, assignment))
    except Refused as refused:
        return show(request, project, assignment, form_input.entered(request, refused), editing=True)
    messages.success(request, "What you said is changed; the earlier words stand in your history as withdrawn.")
    address = reverse("annotate-history", args=[project.slug])
    return HttpResponseClientRedirect(address) if request.htmx else redirect(address)


@in_project(post="judge")
def flag(request: MemberRequest, project: Project) -> HttpResponse:
    """Tell the reviewers that something is wrong; the item stays, with what was entered."""
    assignment = _posted_assignment(request, project)
    reason = request.POST.get("other", "").strip() or request.POST.get("reason", "")

    def raise_it() -> None:
        flags.flag(
            assignment=assignment,
            by=request.user,
            completion=_flagged(assignment, request.POST.get("completion", "")),
            reason=reason,
            comment=request.POST.get("comment", "").replace("\r\n", "\n"),
        )

    try:
        _once(request, "flag", assignment, raise_it)
    except Refused as refused:
        if request.htmx:  # before what stands in the flag's own form
            told = {"errors": refused.errors}
            return reswap(render(request, "annotate/labelling_flagged.html", told, status=refused.status), "afterbegin")
        return show(request, project, assignment, form_input.beside(assignment, refused))
    if request.htmx:
        return render(request, "annotate/labelling_flagged.html", {"reason": reason})
    messages.success(request, "The reviewers will see it. The item is still yours to judge.")
    return _redirect(request, project)


def _submit(request: MemberRequest, project: Project, assignment: Assignment) -> HttpResponse:
    def say() -> None:
        feedback.submit(assignment=assignment, by=request.user, **_said(request, assignment))

    try:
        with_time(assignment, request.user, say)
    except Refused as refused:
        return show(request, project, assignment, form_input.entered(request, refused))
    return _go_on(request, project)


def with_time(assignment: Assignment, user: User, act: Callable[[], None]) -> None:
    """Do it, if need be after taking the item up again: who comes late loses nothing while its place is free."""
    try:
        act()
    except Refused as refused:
        if refused.status != 410:
            raise
        assignment_lifecycle.again(assignment=assignment, by=user)
        act()


def _once(request: MemberRequest, name: str, assignment: Assignment, act: Callable[[], object]) -> bool:
    return once(by=request.user, key=request.POST.get("act_key", ""), act_name=f"{name} {assignment.pk}", act=act)


def _said(request: MemberRequest, assignment: Assignment) -> dict[str, Any]:
    return {
        **form_input.submitted(request, assignment),
        "seconds": form_input.seconds(request),
        "idempotency_key": request.POST.get("idempotency_key") or None,
    }


def _flagged(assignment: Assignment, pk: str) -> Completion | None:
    """The completion that was pointed at; none is the prompt."""
    if not pk:
        return None
    for completion in assignment.completions:
        if str(completion.pk) == pk:
            return completion
    raise Refused(completion="That answer is not part of this item; flag one of those shown, or the prompt.")


def _why_not_editable(assignment: Assignment, user: User) -> Refused | None:
    try:
        feedback.require_changeable(assignment=assignment, by=user)
    except Refused as refused:
        return refused
    return None


def _posted_assignment(request: MemberRequest, project: Project) -> Assignment:
    """Of this project; whose it is, the action decides."""
    return _assignment(project, row_id(request.POST.get("assignment", "")))


def _assignment(project: Project, pk: int) -> Assignment:
    mine = project.assignments.select_related("project", "user", "prompt", "completion_a", "completion_b")
    return get_object_or_404(mine, pk=pk)


def _next(request: MemberRequest, project: Project) -> Assignment | None:
    return assignments.next_for(project=project, user=request.user, kind=_wanted(request, project))


def _wanted(request: MemberRequest, project: Project) -> str | None:
    """Return the kind of item that the address keeps to, if the project asks for it."""
    kind = request.GET.get("kind")
    return kind if kind in Assignment.Kind.values and getattr(project, ASKED[kind]) else None


def _show_next(request: MemberRequest, project: Project) -> HttpResponse:
    """The next item, or what comes before it: a page of its own, so that a fragment sends the browser there."""
    if (wanted := _run_out_and_wanted(request, project)) is not None:
        return show(request, project, wanted)
    try:
        assignment = _next(request, project)
    except NotYet:
        raise  # `to_what_comes_first` knows the way
    except Refused as refused:
        if request.htmx:
            return HttpResponseClientRedirect(reverse("annotate", args=[project.slug]) + _query(request))
        return refused_page(request, refused, project=project)
    return show(request, project, assignment)


def _go_on(request: MemberRequest, project: Project) -> HttpResponse:
    return _show_next(request, project) if request.htmx else _redirect(request, project)


def _redirect(request: MemberRequest, project: Project) -> HttpResponse:
    return redirect(reverse("annotate", args=[project.slug]) + _query(request))


def _query(request: MemberRequest) -> str:
    """The kind that an annotator keeps to travels from form to form."""
    kind = request.GET.get("kind")
    return f"?kind={kind}" if kind in Assignment.Kind.values else ""


def show(
    request: MemberRequest,
    project: Project,
    assignment: Assignment | None,
    entered: form_input.Entered | None = None,
    *,
    editing: bool = False,
    send_to: str = "",
) -> HttpResponse:
    """The page of an item, or of what there is instead. `send_to`: where its form goes, when not to the next item."""
    if assignment is not None and assignment.user_id != request.user.pk:
        refused = Refused(403, assignment="This item was handed to someone else; go on with your own next one.")
        return refused_page(request, refused, project=project)
    entered = entered or (form_input.taken_back(assignment) if assignment else form_input.Entered())
    closed = project.assignments.filter(user=request.user, state__in=["submitted", "skipped"]).exclude(
        purpose__in=NOT_UNDONE_HERE
    )
    last = closed.order_by("closed_at").last()
    closed_at = last.closed_at if last else None
    guideline = project.guideline
    context = {
        "project": project,
        "section": "judge",
        "query": _query(request),
        "assignment": assignment,
        "entered": entered,
        "editing": editing,  # an earlier annotation is changed: the form goes back to where it came from
        "send_to": send_to or _send_to(request, project, assignment, editing),
        "answers": list(zip("ABCDEF", assignment.completions, strict=False)) if assignment else [],
        "scales": scales_in(project),
        "shortcuts": merged(request.user.shortcuts),
        "flag_reasons": flags.REASONS,
        "history_url": reverse("annotate-history", args=[project.slug]),
        "verdicts": VERDICTS,
        "stars": ["1", "2", "3", "4", "5"],
        "skip_reasons": form_input.SKIP_REASONS,
        "idempotency_key": (entered.is_sent and request.POST.get("idempotency_key")) or uuid.uuid4(),
        "act_key": uuid.uuid4(),  # of what is done with the item beside judging it
        "run_out": _run_out(project, request.user, assignment),
        "shown_at": f"{time.time():.2f}",
        "done_today": _done_today(project, request.user),
        "undoable": last if last and not editing and feedback.may_change(last) else None,
        "guideline": guideline,
        "guideline_is_new": bool(guideline and closed_at and guideline.created_at > closed_at),
        "waiting": None if assignment else _waiting(project, request.user),
        "only": KEPT_TO.get(_wanted(request, project) or "", ""),
        "withheld": "" if assignment else harm_budget.why_withheld(project, request.user),
        "veil": harm_budget.veil(assignment.prompt, request.user) if assignment else "",
        "oob": request.htmx,
    }
    template = "annotate/labelling.html#reply" if request.htmx else "annotate/labelling.html"
    return render(request, template, context, status=entered.status)


def _run_out_of(project: Project, user: User) -> QuerySet[Assignment]:
    """Items of theirs whose time ran out: one may have begun on them. As long as a browser keeps drafts."""
    now = timezone.now()
    mine = project.assignments.filter(user=user, state__in=[Assignment.State.OPEN, Assignment.State.EXPIRED])
    return mine.filter(expires_at__range=(now - DRAFTS_KEPT, now)).exclude(purpose__in=NOT_UNDONE_HERE)


def _run_out(project: Project, user: User, shown: Assignment | None) -> list[int]:
    others = _run_out_of(project, user).exclude(pk=shown.pk if shown else 0)
    return list(others.order_by("pk").values_list("pk", flat=True)[:50])


def _run_out_and_wanted(request: MemberRequest, project: Project) -> Assignment | None:
    """`?item=12` goes back to one of these; what cannot be shown again is as if it had not been asked for."""
    pk = row_id(request.GET.get("item", ""))
    if request.method == "POST" or not pk:
        return None
    mine = _run_out_of(project, request.user).filter(pk=pk)
    return harm_budget.within(mine, project, request.user).select_related("project", "user", "prompt").first()


def _send_to(request: MemberRequest, project: Project, assignment: Assignment | None, editing: bool) -> str:
    if assignment is not None and editing:
        return reverse("annotate-edit", args=[project.slug, assignment.pk])
    return reverse("annotate", args=[project.slug]) + _query(request)


def _done_today(project: Project, user: User) -> int:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    done = project.assignments.filter(user=user, state="submitted", closed_at__gte=midnight)
    return done.exclude(purpose=Assignment.Purpose.TUTORIAL).count()


def _waiting(project: Project, user: User) -> str:
    """Why there is nothing to judge: `empty`, `others` when the rest is in other hands, or `done`."""
    if not Completion.objects.filter(prompt__project=project, prompt__side=Split.TRAIN).exists():
        return "empty"
    others = project.assignments.live().filter(user__is_simulated=user.is_simulated).exclude(user=user)
    return "others" if others.exists() else "done"
