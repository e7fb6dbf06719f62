"""The annotator's workplace: one item at a time, and the next one as soon as a judgement is sent.

Everything works by POST and redirect; with htmx the same views answer with the page's own fragment. Nothing in what
these views send names a model.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from annotate.actions import assignments, feedback
from annotate.errors import Refused
from annotate.models import Assignment, Completion, Project, Side, User
from annotate.views.access import in_project, refused_page

SKIP_REASONS = (
    "I cannot judge this",
    "The prompt is unclear or broken",
    "Offensive or unsafe",
    "No difference that matters",
)


@dataclass(frozen=True)
class Verdict:
    """One choice when two answers are compared: `model_a:3` is winner model_a with strength 3."""

    value: str
    label: str
    key: str
    side: str = ""


VERDICTS = (
    Verdict("model_a:3", "A is much better", "1", "toa"),
    Verdict("model_a:2", "A is better", "2", "toa"),
    Verdict("tie", "About the same", "3"),
    Verdict("model_b:2", "B is better", "4", "tob"),
    Verdict("model_b:3", "B is much better", "5", "tob"),
    Verdict("both_bad", "Both are bad", "0"),
)


@dataclass(frozen=True)
class Entered:
    """What stands in the form: sent and refused, or taken back by undo."""

    choice: str = ""
    thumbs: str = ""
    stars: str = ""
    text: str = ""
    edited_from: str = ""
    comment: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    status: int = 200


@in_project("judge")
@require_http_methods(["GET", "HEAD", "POST"])
def judge(request: HttpRequest, project: Project) -> HttpResponse:
    if request.method != "POST":
        return _show(request, project, _next(request, project))
    assignment = _posted_assignment(request, project)
    return _submit(request, project, assignment)


@in_project("judge")
@require_POST
def again(request: HttpRequest, project: Project) -> HttpResponse:
    """Take up an item whose time ran out, and send what had been entered."""
    assignment = _posted_assignment(request, project)
    try:
        assignments.again(assignment=assignment, by=request.user)
    except Refused as refused:
        return _show(request, project, assignment, _entered(request, refused))
    return _submit(request, project, assignment)


@in_project("judge")
@require_POST
def skip(request: HttpRequest, project: Project) -> HttpResponse:
    assignment = _posted_assignment(request, project)
    reason = request.POST.get("other", "").strip() or request.POST.get("reason", "")
    try:
        assignments.skip(assignment=assignment, by=request.user, reason=reason)
    except Refused as refused:
        return _show(request, project, assignment, _entered(request, refused))
    return _go_on(request, project)


@in_project("judge")
@require_POST
def undo(request: HttpRequest, project: Project) -> HttpResponse:
    assignment = _posted_assignment(request, project)
    try:
        feedback.undo(assignment=assignment, by=request.user)
    except Refused as refused:
        if request.htmx:
            current = assignments.next_for(project=project, user=request.user)
            return _show(request, project, current, Entered(errors=refused.errors, status=refused.status))
        return refused_page(request, refused, project=project)
    return _show(request, project, assignment, _taken_back(assignment)) if request.htmx else _redirect(request, project)


def _submit(request: HttpRequest, project: Project, assignment: Assignment) -> HttpResponse:
    try:
        feedback.submit(
            assignment=assignment,
            by=request.user,
            **_judgement(request, assignment),
            seconds=_seconds(request),
            idempotency_key=request.POST.get("idempotency_key") or None,
        )
    except Refused as refused:
        return _show(request, project, assignment, _entered(request, refused))
    return _go_on(request, project)


def _posted_assignment(request: HttpRequest, project: Project) -> Assignment:
    """Of this project; whose it is, the action decides."""
    pk = request.POST.get("assignment", "")
    mine = project.assignments.select_related("project", "user", "prompt", "completion_a", "completion_b")
    return get_object_or_404(mine, pk=int(pk) if pk.isascii() and pk.isdigit() and len(pk) < 19 else 0)


def _judgement(request: HttpRequest, assignment: Assignment) -> dict:
    """The form's fields in the action's words. What is not understood is passed on, for the action to refuse."""
    post = request.POST
    winner, _, strength = post.get("choice", "").partition(":")
    text = post.get("text", "").replace("\r\n", "\n")
    letters = dict(zip("ab", assignment.completions, strict=False))
    return {
        "winner": winner or None,
        "strength": _whole(strength),
        "thumbs": {"up": True, "down": False, "": None}.get(post.get("thumbs", ""), post.get("thumbs")),
        "stars": _whole(post.get("stars", "")),
        "text": text if text.strip() else None,
        "edited_from": letters.get(post.get("edited_from", "")) if text.strip() else None,
        "comment": post.get("comment", "").replace("\r\n", "\n").strip(),
    }


def _whole(text: str) -> int | str | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None


def _seconds(request: HttpRequest) -> float | None:
    """As the page's script measured them, with the page in view; else from when the form was made."""
    for name, since in (("seconds", 0.0), ("shown_at", time.time())):
        try:
            value = float(request.POST.get(name, ""))
        except ValueError:
            continue
        value = since - value if since else value
        if math.isfinite(value) and 0 <= value <= 24 * 3600:
            return round(value, 2)
    return None


def _entered(request: HttpRequest, refused: Refused) -> Entered:
    names = ("choice", "thumbs", "stars", "text", "edited_from", "comment")
    return Entered(**{name: request.POST.get(name, "") for name in names}, errors=refused.errors, status=refused.status)


def _taken_back(assignment: Assignment) -> Entered:
    """What was said before the undo, so that it need only be corrected."""
    comparison = assignment.comparisons.last()
    rating = assignment.ratings.last()
    answer = assignment.demonstrations.last()
    said = comparison or rating or answer
    if said is None:
        return Entered()
    start = answer.edited_from_id if answer else None
    return Entered(
        choice=":".join(str(v) for v in (comparison.winner, comparison.strength) if v) if comparison else "",
        thumbs={True: "up", False: "down", None: ""}[rating.thumbs] if rating else "",
        stars=str(rating.stars or "") if rating else "",
        text=answer.text if answer else "",
        edited_from={assignment.completion_a_id: "a", assignment.completion_b_id: "b"}.get(start, "") if start else "",
        comment=said.comment,
    )


def _next(request: HttpRequest, project: Project) -> Assignment | None:
    kind = request.GET.get("kind")
    wanted = kind if kind in Assignment.Kind.values and getattr(project, ASKED[kind]) else None
    return assignments.next_for(project=project, user=request.user, kind=wanted)


ASKED = {"rate": "asks_ratings", "compare": "asks_comparisons"}


def _go_on(request: HttpRequest, project: Project) -> HttpResponse:
    return _show(request, project, _next(request, project)) if request.htmx else _redirect(request, project)


def _redirect(request: HttpRequest, project: Project) -> HttpResponse:
    return redirect(reverse("judge", args=[project.slug]) + _query(request))


def _query(request: HttpRequest) -> str:
    """The kind that a judge keeps to travels from form to form."""
    kind = request.GET.get("kind")
    return f"?kind={kind}" if kind in Assignment.Kind.values else ""


def _show(
    request: HttpRequest, project: Project, assignment: Assignment | None, entered: Entered | None = None
) -> HttpResponse:
    if assignment is not None and assignment.user_id != request.user.pk:
        refused = Refused(403, assignment="This item was handed to someone else; go on with your own next one.")
        return refused_page(request, refused, project=project)
    entered = entered or (_taken_back(assignment) if assignment else Entered())
    last = (
        project.assignments.filter(user=request.user, state__in=["submitted", "skipped"]).order_by("closed_at").last()
    )
    guideline = project.guideline
    context = {
        "project": project,
        "section": "judge",
        "query": _query(request),
        "assignment": assignment,
        "entered": entered,
        "answers": list(zip("AB", assignment.completions, strict=False)) if assignment else [],
        "verdicts": VERDICTS,
        "stars": ["1", "2", "3", "4", "5"],
        "skip_reasons": SKIP_REASONS,
        "idempotency_key": request.POST.get("idempotency_key") if entered.errors else uuid.uuid4(),
        "shown_at": f"{time.time():.2f}",
        "done_today": _done_today(project, request.user),
        "undoable": last
        if last and last.closed_at > timezone.now() - timedelta(minutes=feedback.UNDO_MINUTES)
        else None,
        "guideline": guideline,
        "guideline_is_new": bool(guideline and last and guideline.created_at > last.closed_at),
        "waiting": None if assignment else _waiting(project, request.user),
        "oob": request.htmx,
    }
    template = "annotate/judge.html#reply" if request.htmx else "annotate/judge.html"
    return render(request, template, context, status=entered.status)


def _done_today(project: Project, user: User) -> int:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    return project.assignments.filter(user=user, state="submitted", closed_at__gte=midnight).count()


def _waiting(project: Project, user: User) -> str:
    """Why there is nothing to judge: `empty`, `others` when the rest is in other hands, or `done`."""
    if not Completion.objects.filter(prompt__project=project, prompt__side=Side.TRAIN).exists():
        return "empty"
    others = project.assignments.live().filter(user__is_simulated=user.is_simulated).exclude(user=user)
    return "others" if others.exists() else "done"
