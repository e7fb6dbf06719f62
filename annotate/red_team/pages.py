"""Red-teaming: a talk with a nameless model, its rating, one's own attacks; and what one is ready to see."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.form_idempotency import feedback_key
from annotate.core.page_access import MemberRequest, allows, in_project, refused_page, way_back
from annotate.core.permissions import can
from annotate.labelling.prerequisites import actions as prerequisites
from annotate.models import Attack, HarmBudget, Project, Talk, User
from annotate.projects.wellbeing import actions as harm_budget
from annotate.red_team import actions as red_team
from common import harm_kinds as harms
from common.texts import with_line_feeds
from common.whole_numbers import whole_number

NUMBERS = ("daily_cap", "break_after", "break_minutes")


@never_cache
@in_project(get="judge", post="judge")
def red_team_page(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the talk as it stands (GET). POST: begin one; or, without JavaScript, ask and wait for the whole answer."""
    talk = red_team.open_talk(project, request.user)
    if request.method != "POST":
        return _show(request, project, talk)
    try:
        if talk is None:
            described = _text(request, "task_description")
            red_team.begin(project=project, by=request.user, task_description=described)
        else:
            red_team.ask_and_wait(talk=talk, by=request.user, text=_text(request, "text"))
    except Refused as refused:
        return _show(request, project, talk, refused)
    return redirect("red-team", project.slug)


@in_project(post="judge")
def rate(request: MemberRequest, project: Project) -> HttpResponse:
    """End the talk: send it with its rating, or drop it."""
    talk = get_object_or_404(Talk, project=project, user=request.user, token=_token(request))
    try:
        if "drop" in request.POST:
            red_team.drop(talk=talk, by=request.user)
            messages.success(request, "The conversation is discarded and not used as data.")
            return redirect("red-team", project.slug)
        attack = red_team.rate(
            talk=talk,
            by=request.user,
            rating=_whole_number(request.POST.get("rating", "")),
            tags=request.POST.getlist("tags"),
            task_description=_text(request, "task_description"),
            comment=_text(request, "comment"),
            idempotency_key=feedback_key(request, str(request.user.pk)),
        )
    except Refused as refused:
        return _show(request, project, red_team.open_talk(project, request.user), refused)
    name = attack.model.name if attack.model else "no model"
    messages.success(request, f"Sent and counted. You talked with {name}.")
    return redirect("red-team", project.slug)


@in_project(post="judge, mine")
def withdraw(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    attack = get_object_or_404(Attack, project=project, author=request.user, pk=pk)
    try:
        red_team.withdraw(attack=attack, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    messages.success(request, "The attack is taken back and no longer counts.")
    return redirect("attacks", project.slug)


@never_cache
@in_project(get="judge")
def attacks(request: MemberRequest, project: Project) -> HttpResponse:
    """Show one's own attacks; reviewers see all that they are ready to see. Blurred until asked for."""
    rows = Attack.objects.filter(project=project).select_related("author", "model").order_by("-id")
    reviews = can(request.user, "review", project)
    if not reviews:
        rows = rows.filter(author=request.user)
    page = Paginator(rows, 20).get_page(request.GET.get("page"))
    accepted = harm_budget.readable(request.user)
    context = {
        "project": project,
        "page": page,
        "withheld": {row.pk for row in page if row.author_id != request.user.pk and not accepted.issuperset(row.kinds)},
        "reviews": reviews,
        "titles": harms.HARMS,
        "blur": harm_budget.blurs(request.user),
        "success": dict(red_team.SUCCESS),
    }
    return render(request, "annotate/red_team/attacks.html", context)


@never_cache
@allows(get="account", post="account")
def harm(request: HttpRequest) -> HttpResponse:
    """Show what one is ready to see: for all projects, to be changed at any time."""
    assert isinstance(request.user, User)
    budget = harm_budget.budget_of(request.user)
    errors: dict[str, str] = {}
    if request.method == "POST":
        try:
            harm_budget.agree(
                user=request.user,
                accepted=request.POST.getlist("accepted"),
                blur=request.POST.get("blur") == "on",
                **{name: _whole_number(request.POST.get(name, "")) for name in NUMBERS},  # type: ignore[arg-type]
            )
            messages.success(request, "Saved. You can change it at any time.")
            return redirect(way_back(request, "next") or reverse("harm"))
        except Refused as refused:
            errors = refused.errors
    accepted = request.POST.getlist("accepted") if errors else budget.accepted if budget else []
    context = {
        "budget": budget,
        "values": {name: request.POST.get(name) or getattr(budget or HarmBudget(), name) for name in NUMBERS},
        "blur": "blur" in request.POST if errors else budget.blur if budget else True,
        "harms": [(name, title, name in accepted) for name, title in harms.HARMS.items()],
        "standing": harm_budget.standing(request.user),
        "errors": errors,
        "next": way_back(request, "next"),
    }
    return render(request, "annotate/red_team/harm.html", context, status=400 if errors else 200)


def _show(request: MemberRequest, project: Project, talk: Talk | None, refused: Refused | None = None) -> HttpResponse:
    standing = harm_budget.standing(request.user)
    questions = list(talk.questions.select_related("prompt", "completion")) if talk else []
    waiting = bool(questions) and questions[-1].completion_id is None
    entered = request.POST
    member = prerequisites.member_of(project, request.user)
    context: dict[str, Any] = {
        "project": project,
        "talk": talk,
        "paused": member.paused_reason if member is not None and member.paused_at else None,
        "questions": questions,
        "must_retry": waiting,
        "can_rate": bool(questions) and not waiting,
        "most": red_team.MOST_QUESTIONS,
        "success": red_team.SUCCESS,
        "harms": harms.HARMS.items(),
        "standing": standing,
        "has_budget": harm_budget.budget_of(request.user) is not None or request.user.is_simulated,
        "errors": refused.errors if refused else {},
        "text": entered.get("text", ""),
        "entered": {"rating": _whole_number(entered.get("rating", "")), "tags": entered.getlist("tags")},
        "comment": entered.get("comment", ""),
        "description": entered.get("task_description", talk.task_description if talk else ""),
        "idempotency_key": entered.get("idempotency_key") or uuid.uuid4(),
    }
    return render(request, "annotate/red_team/red_team.html", context, status=refused.status if refused else 200)


def _token(request: HttpRequest) -> uuid.UUID | None:
    try:
        return uuid.UUID(request.POST.get("talk", ""))
    except ValueError:
        return None


def _text(request: HttpRequest, name: str) -> str:
    return with_line_feeds(request.POST.get(name, ""))


def _whole_number(text: str) -> int | None:
    return whole_number(text, None, digits=5)
