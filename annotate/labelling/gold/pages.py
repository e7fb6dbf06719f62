"""Show managers the gold items, how annotators do on them, and let them lift a pause."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.labelling.gold import actions as gold_items
from annotate.labelling.gold import proposals
from annotate.labelling.gold import scoring as gold
from annotate.labelling.gold.present import in_words
from annotate.models import Assignment, Project, Split, User, Winner
from annotate.projects.wellbeing import actions as harm_budget
from common.texts import with_line_feeds
from common.whole_numbers import whole_number

_PEOPLE_ON_A_PAGE = 100


@never_cache
@in_project(get="manage", post="manage")
def gold_page(request: MemberRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _show(request, project)
    try:
        gold_item = gold_items.make_from_consensus(
            project=project,
            by=request.user,
            key=request.POST.get("item", "").strip(),
            expected=_expected(request) or None,
            **_form_fields(request),
        )
    except Refused as refused:
        return _show(request, project, refused)
    messages.success(request, f"Gold item {gold_item.pk} is added: {in_words(gold_item.expected)}.")
    return redirect("gold", project.slug)


@in_project(post="manage")
def change(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Change explanation, place, tutorial or not; or retire the gold item and take it up again."""
    item = get_object_or_404(project.gold_items.select_related("project", "prompt"), pk=pk)
    try:
        if request.POST.get("do") in ("retire", "back"):
            gold_items.retire(item=item, by=request.user, back=request.POST["do"] == "back")
        else:
            gold_items.change(
                item=item,
                by=request.user,
                **_form_fields(request),
                **({"expected": expected} if (expected := _expected(request)) else {}),
            )
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "The gold item is saved. Earlier answers keep their score.")
    return redirect("gold", project.slug)


@never_cache
@in_project(get="manage", post="manage")
def from_annotation(request: MemberRequest, project: Project, kind: str, pk: int) -> HttpResponse:
    """Show an annotation as the gold item that it would make; POST makes it."""
    annotation = proposals.annotation_of(project, kind, pk)
    if annotation is None:
        raise Http404("There is no such rating or comparison here.")
    proposal = proposals.proposal_of(annotation)
    if request.method != "POST":
        return _propose(request, project, proposal)
    try:
        item = gold_items.make(
            project=project,
            by=request.user,
            completions=list(proposal.completions),
            expected=_expected(request),
            **_form_fields(request),
        )
    except Refused as refused:
        return _propose(request, project, proposal, refused)
    messages.success(request, f"Gold item {item.pk} is added: {in_words(item.expected)}.")
    return redirect("gold", project.slug)


def _propose(
    request: MemberRequest, project: Project, proposal: proposals.Proposal, refused: Refused | None = None
) -> HttpResponse:
    completions = proposal.completions
    context = {
        "project": project,
        "proposal": proposal,
        "letters": list(zip("AB" if len(completions) == 2 else " ", completions, strict=False)),
        "expected": _expected(request) if refused else proposal.expected,
        "standing": gold_items.standing_item(project, [each.pk for each in completions]),
        "is_teaching": proposal.prompt.side == Split.TRAIN,
        "veil": harm_budget.veil(proposal.prompt, request.user),
        "winners": Winner.choices,
        "stars": [1, 2, 3, 4, 5],
        "errors": refused.errors if refused else {},
        "entered": request.POST if refused else {},
    }
    return render(request, "annotate/labelling/gold_new.html", context, status=refused.status if refused else 200)


def _form_fields(request: MemberRequest) -> dict[str, Any]:
    return {
        "explanation": with_line_feeds(request.POST.get("explanation", "")),
        "is_tutorial": request.POST.get("is_tutorial") == "on",
        "position": _number(request.POST.get("position", "") or "0"),
    }


@in_project(post="manage")
def lift(request: MemberRequest, project: Project) -> HttpResponse:
    """Let a paused person go on, or pause one by hand."""
    user = get_object_or_404(User, username=request.POST.get("username", "").replace("\x00", ""))
    try:
        if request.POST.get("do") == "pause":
            gold.pause(project=project, user=user, by=request.user, reason=request.POST.get("note", ""))
            messages.success(request, f"{user} is paused and sees the reason.")
        else:
            gold.lift(project=project, user=user, by=request.user, note=request.POST.get("note", ""))
            messages.success(request, f"{user} can continue and sees your note first.")
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect("gold", project.slug)


def _show(request: MemberRequest, project: Project, refused: Refused | None = None) -> HttpResponse:
    items = project.gold_items.select_related("prompt", "completion_a", "completion_b")
    is_answered = Q(assignments__state=Assignment.State.SUBMITTED)
    items = items.annotate(
        answered=Count("assignments", filter=is_answered),
        right=Count("assignments", filter=is_answered & Q(assignments__gold_passed=True)),
    )
    standings = Paginator(gold.standings(project), _PEOPLE_ON_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "items": [(item, in_words(item.expected)) for item in items],
        "standings": standings,
        "winners": Winner.choices,
        "stars": [1, 2, 3, 4, 5],
        "errors": refused.errors if refused else {},
        "entered": request.POST if refused else {"item": request.GET.get("item", "")},
        "ticked": _expected(request) if refused else {},
        "looked_at": gold.LOOKED_AT,
        "fewest": gold.FEWEST,
    }
    return render(request, "annotate/labelling/gold.html", context, status=refused.status if refused else 200)


def _expected(request: MemberRequest) -> dict[str, list[Any]]:
    """Return the values of the form's boxes; none ticked leaves it to the consensus."""
    boxes: dict[str, list[Any]] = {
        "winner": request.POST.getlist("winner"),
        "stars": [_number(value) for value in request.POST.getlist("stars")],
        "thumbs": [{"up": True, "down": False}.get(value, value) for value in request.POST.getlist("thumbs")],
    }
    return {name: values for name, values in boxes.items() if values}


def _number(text: str) -> Any:
    """Return the number; any other text is passed on, for the action to refuse."""
    return whole_number(text, text, digits=8)
