"""The annotator's workplace: one item at a time, and the next one as soon as an annotation is sent.

Everything works by POST and redirect; with htmx the same views answer with the page's own fragment. Nothing in what
these views send names a model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect, reswap

from annotate.core.errors import Refused
from annotate.core.form_idempotency import once
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle, form_input, handing_ahead
from annotate.labelling import flagging as flags
from annotate.labelling.forms.submission_facts import assignments_with_facts
from annotate.labelling.going_on import Step
from annotate.labelling.pages.item_page import (
    flag_context,
    kept_query,
    run_out_and_wanted,
    show,
    submit,
    submit_and_draw,
    wanted_kind,
    with_time,
)
from annotate.labelling.pages.progress import describe_sent, done_today
from annotate.labelling.prerequisites.actions import NotYet
from annotate.labelling.prerequisites.pages import redirects_to_prerequisite
from annotate.models import Assignment, Completion, Project, User
from common.texts import with_line_feeds
from common.whole_numbers import row_id


@in_project(get="judge", post="judge")
@redirects_to_prerequisite
def annotate(request: MemberRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _show_next(request, project)
    return _submit(request, project, _posted_with_facts(request, project))


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
    return _go_on(request, project, f"Skipped: {reason}")


@in_project(post="judge")
@redirects_to_prerequisite
def undo(request: MemberRequest, project: Project) -> HttpResponse:
    assignment = _posted_assignment(request, project)
    try:
        _once(request, "undo", assignment, lambda: feedback.undo(assignment=assignment, by=request.user))
    except Refused as refused:
        if request.htmx:
            current = project.assignments.live().filter(user=request.user).order_by("is_ahead", "id").first()
            return show(request, project, current, form_input.beside(current, refused))
        return refused_page(request, refused, project=project)
    if not request.htmx:
        return _redirect(request, project)
    is_back = project.assignments.live().filter(pk=assignment.pk, user=request.user).exists()
    return show(request, project, assignment) if is_back else _show_next(request, project)


@in_project(post="judge")
def keep(request: MemberRequest, project: Project) -> HttpResponse:
    """Keep an item that is being worked on, as the page says now and then, so that it does not run out meanwhile."""
    try:
        assignment_lifecycle.keep(assignment=_posted_assignment(request, project), by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return HttpResponse(status=204)


@in_project(get="judge, mine", post="judge, mine")
def edit(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show what was said of an item, in its form, to be changed while the project lets it."""
    assignment = _assignment(project, pk)
    if request.method != "POST":
        if (problem := _why_not_editable(assignment, request.user)) is not None:
            return refused_page(request, problem, project=project)
        return show(request, project, assignment, editing=True)
    try:
        feedback.revise(assignment=assignment, by=request.user, **form_input.submission(request, assignment))
    except Refused as refused:
        return show(request, project, assignment, form_input.entered(request, refused), editing=True)
    messages.success(request, "Your annotation is changed. Your history keeps the old version as withdrawn.")
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
            completion=_flagged(assignment, request.POST.get("completion")),
            reason=reason,
            comment=with_line_feeds(request.POST.get("comment", "")),
        )

    try:
        _once(request, "flag", assignment, raise_it)
    except Refused as refused:
        if request.htmx:  # before what stands in the flag's own form
            page, errors = "annotate/labelling/labelling_flagged.html", {"errors": refused.errors}
            return reswap(render(request, page, errors, status=refused.status), "afterbegin")
        return show(request, project, assignment, form_input.beside(assignment, refused))
    if request.htmx:
        context = {**flag_context(request, project, assignment), "reason": reason}
        return render(request, "annotate/labelling/labelling_flagged.html", context)
    messages.success(request, "The reviewers will see it. You can still annotate the item.")
    return _redirect(request, project)


@in_project(post="judge")
def unflag(request: MemberRequest, project: Project) -> HttpResponse:
    """Take one's flags of an item back; the form to flag it is there again."""
    assignment = _posted_assignment(request, project)
    flag_id = row_id(request.POST.get("flag", "")) or None
    try:
        _once(
            request,
            "unflag",
            assignment,
            lambda: flags.take_back(assignment=assignment, by=request.user, flag_id=flag_id),
        )
    except Refused as refused:
        return refused_page(request, refused, project=project)
    if request.htmx:
        return render(request, "annotate/labelling/item/flag_form.html", flag_context(request, project, assignment))
    messages.success(request, "Your flag is taken back.")
    return redirect("annotate-history" if "flag" in request.POST else "annotate", project.slug)


def _submit(request: MemberRequest, project: Project, assignment: Assignment) -> HttpResponse:
    """Store what was said, and draw the next item with it, as programs do.

    A page that has gone on by itself stays apart: what it shows already is taken up with the project alone, and what
    was said of the item before is stored whatever becomes of that. Without htmx the browser asks for the next one.
    """
    step: Step | None = None
    try:
        if request.htmx and not _showing(request):
            step = submit_and_draw(request, assignment, wanted_kind(request, project))
        row = step.row if step else submit(request, assignment)
    except Refused as refused:
        return show(request, project, assignment, form_input.entered(request, refused))
    sent = f"Sent: {describe_sent(row)}"
    if step:
        return _show_next(request, project, sent, partial(_following, step))
    response = _go_on(request, project, sent)
    if not request.htmx and 0 < done_today(project, request.user) == project.daily_goal:
        messages.success(request, f"You have reached today’s goal: {project.daily_goal}. Thank you.")
    return response


def _once(request: MemberRequest, name: str, assignment: Assignment, act: Callable[[], object]) -> bool:
    return once(by=request.user, key=request.POST.get("act_key", ""), act_name=f"{name} {assignment.pk}", act=act)


def _flagged(assignment: Assignment, pk: str | None) -> Completion | None:
    """Return the completion that was pointed at; "" is the prompt."""
    if pk is None and len(assignment.completions) > 1:
        raise Refused(completion="Choose what it is about: the prompt, or one of the answers.")
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


def _posted_with_facts(request: MemberRequest, project: Project) -> Any:
    """Return the posted assignment of this project with the facts of its submission."""
    key = request.POST.get("idempotency_key", "")
    known_key = key if key.isprintable() else ""  # another one is refused with the form
    assignment = assignments_with_facts.first(pk=row_id(request.POST.get("assignment", "")), key=known_key)
    if assignment is None or assignment.project_id != project.pk:
        raise Http404("There is no such item here.")
    if assignment.user_id == request.user.pk:
        assignment.user = request.user  # at hand already
    return assignment


def _posted_assignment(request: MemberRequest, project: Project) -> Assignment:
    """Return the posted assignment of this project; whose it is, the action decides."""
    return _assignment(project, row_id(request.POST.get("assignment", "")))


def _assignment(project: Project, pk: int) -> Assignment:
    assignments = project.assignments.select_related("project", "user", "prompt", "completion_a", "completion_b")
    return get_object_or_404(assignments, pk=pk)


def _next(request: MemberRequest, project: Project) -> Assignment | None:
    return assignments.next_for(project=project, user=request.user, kind=wanted_kind(request, project))


def _following(step: Step) -> Assignment | None:
    if step.refused:
        raise step.refused
    return step.following


def _show_next(
    request: MemberRequest, project: Project, sent: str = "", draw: Callable[[], Assignment | None] | None = None
) -> HttpResponse:
    """Show the next item, or what comes before it: a page of its own, so that a fragment sends the browser there."""
    if (wanted_assignment := run_out_and_wanted(request, project)) is not None:
        return show(request, project, wanted_assignment)
    try:
        assignment = draw() if draw else _next(request, project)
    except NotYet:
        raise  # `redirects_to_prerequisite` knows the way
    except Refused as refused:
        if request.htmx:
            return HttpResponseClientRedirect(reverse("annotate", args=[project.slug]) + kept_query(request))
        return refused_page(request, refused, project=project)
    return show(request, project, assignment, sent=sent)


def _go_on(request: MemberRequest, project: Project, sent: str) -> HttpResponse:
    if request.htmx:
        return _show_beside(request, project, sent) or _show_next(request, project, sent)
    messages.success(request, f"{sent}.")
    return _redirect(request, project)


def _showing(request: MemberRequest) -> int:
    """Return the item that the page has gone on to by itself; 0 for none."""
    return row_id(request.POST.get("showing", ""))


def _show_beside(request: MemberRequest, project: Project, sent: str) -> HttpResponse | None:
    """Return what stands beside the item that the page has gone on to by itself; None where it shows no such item, or
    one that may no longer be worked on."""
    showing = _showing(request)
    if not showing:
        return None
    kind = wanted_kind(request, project)
    since = form_input.shown_for(request)
    assignment = handing_ahead.take_up(project=project, user=request.user, pk=showing, kind=kind, shown_for=since)
    if assignment is None:
        return None
    return show(request, project, assignment, sent=sent, shown_as=request.POST.get("drawn_as", ""))


def _redirect(request: MemberRequest, project: Project) -> HttpResponse:
    return redirect(reverse("annotate", args=[project.slug]) + kept_query(request))
