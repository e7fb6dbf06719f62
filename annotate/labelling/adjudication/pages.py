"""Show reviewers the items whose annotators disagree and the prompts that people complain about, and let them
decide."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.form_idempotency import feedback_key
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import can
from annotate.data.prompts import retirement
from annotate.labelling import actions as feedback
from annotate.labelling import form_input
from annotate.labelling.adjudication import actions as adjudication
from annotate.labelling.adjudication import disagreements
from annotate.labelling.forms.storage import sent_with
from annotate.labelling.forms.verdicts import VERDICTS
from annotate.labelling.queue import priorities, quarantine
from annotate.labelling.queue.assigned_items import COMPARE, RANK, RATE
from annotate.labelling.scales.declared import scales_in
from annotate.models import AnnotatorKind, Assignment, Project
from annotate.projects.wellbeing import actions as harm_budget
from common.texts import with_line_feeds
from common.winners import swapped

LETTERS = "ABCDEF"


@never_cache
@in_project(get="review")
def adjudicate(request: MemberRequest, project: Project) -> HttpResponse:
    judge = AnnotatorKind.SIMULATION if request.GET.get("judge") == AnnotatorKind.SIMULATION else AnnotatorKind.PERSON
    found, newest = disagreements.waiting_among(project, judge=judge)
    context = {
        "project": project,
        "judge": judge,
        "found": found,
        "newest": newest,
        "complaints": quarantine.waiting(project),
        "coming": priorities.coming_next(project) if can(request.user, "manage", project) else None,
    }
    return render(request, "annotate/labelling/adjudicate.html", context)


@never_cache
@in_project(get="review", post="review")
def item(request: MemberRequest, project: Project, key: str) -> HttpResponse:
    """Show what each annotator said of an item, side by side, and the form in which a reviewer decides."""
    _require_item(project, key)
    if request.method != "POST":
        return _show(request, project, key)
    try:
        _decide(request, project, key)
    except Refused as refused:
        return _show(request, project, key, form_input.entered(request, refused))
    messages.success(request, "Decided. Your decision replaces the annotations, which are kept.")
    return redirect("adjudicate", project.slug)


@in_project(post="review")
def send_back(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    assignment = get_object_or_404(project.assignments.select_related("project", "user", "prompt"), pk=pk)
    comment = with_line_feeds(request.POST.get("comment", ""))
    try:
        adjudication.send_back(assignment=assignment, by=request.user, comment=comment)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "Sent back. The annotator gets it first, with your comment.")
    return redirect("adjudicate-item", project.slug, assignment.item)


@in_project(post="review")
def decide_prompt(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Take a prompt out of the work for good, or keep it."""
    prompt = get_object_or_404(project.prompts.select_related("project"), pk=pk)
    take_out = request.POST.get("decision") == "out"
    try:
        retirement.decide(prompt=prompt, by=request.user, take_out=take_out, reason=request.POST.get("reason", ""))
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "The prompt is retired." if take_out else "The prompt is kept. Annotators get it again.")
    return redirect("adjudicate", project.slug)


def _require_item(project: Project, key: str) -> None:
    if "\x00" in key:
        raise Http404("There is no such item.")
    is_known = key.split(":")[0] in (RATE, COMPARE, RANK) and adjudication.judged_by(project, key).exists()
    if not is_known and not project.assignments.filter(item=key, purpose=Assignment.Purpose.ADJUDICATION).exists():
        raise Http404("Nobody has annotated this item here.")


def _decide(request: MemberRequest, project: Project, key: str) -> None:
    """Store the decision, once however often its form comes."""
    sent_key = feedback_key(request, str(request.user.pk))
    earlier = sent_with(sent_key) if sent_key else None
    if earlier is not None and earlier.assignment and earlier.assignment.item == key:
        return
    assignment = adjudication.take(project=project, key=key, by=request.user)
    feedback.submit(
        assignment=assignment,
        by=request.user,
        **_as_shown(form_input.submitted(request, assignment), assignment, key),
        seconds=form_input.seconds(request),
        idempotency_key=sent_key,
    )


def _show(
    request: MemberRequest, project: Project, key: str, entered: form_input.Entered | None = None
) -> HttpResponse:
    answers = list(zip(LETTERS, disagreements.answers_of(key), strict=False))
    letters = {completion.pk: letter for letter, completion in answers}
    entered = entered or form_input.Entered()
    names = request.GET.get("names") == "shown"
    decided = project.assignments.filter(item=key, purpose=Assignment.Purpose.ADJUDICATION, state="submitted")
    context = {
        "project": project,
        "key": key,
        "assignment": {"kind": key.split(":")[0], "prompt": answers[0][1].prompt if answers else None},
        "answers": answers,
        "veil": harm_budget.veil(answers[0][1].prompt, request.user) if answers else "",
        "said": disagreements.answers_to(project, key, letters),
        "names": names,
        "decided": decided.select_related("user").first(),
        "own": adjudication.judged_by(project, key).filter(user=request.user).exists(),
        "entered": entered,
        "scales": scales_in(project),
        "verdicts": VERDICTS,
        "stars": ["1", "2", "3", "4", "5"],
    }
    return render(request, "annotate/labelling/adjudicate_item.html", context, status=entered.status)


def _as_shown(fields: dict, assignment: Assignment, key: str) -> dict:
    """Return the fields as the page shows them: it shows the smaller id as A, and the assignment may have its sides
    swapped."""
    first = int(key.split(":")[1])
    if assignment.kind == COMPARE and assignment.completion_a_id != first:
        fields["winner"] = swapped(fields["winner"])
    return fields
