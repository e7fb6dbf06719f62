"""Show managers how many votes of the arena are held and why, and let them release or exclude them."""

from __future__ import annotations

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.models import Comparison, Project, Status
from common.charts.scene import svg
from common.whole_numbers import row_ids
from evaluation.vote_integrity import held_votes as held_for_review
from evaluation.vote_integrity import hold_rate
from evaluation.vote_integrity.rate_change import EVERY

PER_PAGE = 50


@in_project(get="manage")
def held_votes(request: HttpRequest, project: Project) -> HttpResponse:
    by = request.GET.get("by", "day")
    reason = request.GET.get("reason", "")
    if by not in held_for_review.PERIODS or (reason and reason not in held_for_review.REASONS):
        return redirect("held-votes", project.slug)
    periods = held_for_review.held_rate(project, by)
    context = {
        "project": project,
        "by": by,
        "periods": periods,
        "picture": svg(held_for_review.chart(periods, by)),
        "reason": reason,
        "waiting": held_for_review.waiting(project),
        "page": Paginator(held_for_review.held_votes(project, reason), PER_PAGE).get_page(request.GET.get("page")),
        "words": held_for_review.REASONS,
        "usual": 100 * hold_rate.usual_now(project),
        "every": EVERY,
    }
    return render(request, "evaluation/vote_integrity/held.html", context)


@in_project(post="manage")
def decide(request: MemberRequest, project: Project) -> HttpResponse:
    """Release or exclude the chosen votes, or all of one reason."""
    reason_held = request.POST.get("held_for", "")
    try:
        changed = held_for_review.decide(
            project=project,
            rows=_chosen(request, project, reason_held),
            status=request.POST.get("status", ""),
            reason=request.POST.get("reason", ""),
            by=request.user,
        )
    except Refused as refused:
        return refused_page(request, refused, project=project)
    outcome = held_for_review.DECISIONS[Status(request.POST["status"])]
    messages.success(
        request, f"{changed} vote{'s' if changed != 1 else ''} {outcome}. The ledger records who decided and why."
    )
    query = f"?{urlencode({'reason': reason_held})}" if reason_held else ""
    return redirect(reverse("held-votes", args=[project.slug]) + query)


def _chosen(request: HttpRequest, project: Project, reason: str) -> QuerySet[Comparison]:
    if reason and reason not in held_for_review.REASONS:
        raise Refused(400, held_for=f"{reason!r} is not a reason; use one of {', '.join(held_for_review.REASONS)}.")
    rows = held_for_review.held_votes(project, reason)
    if "all" in request.POST:
        return rows
    return rows.filter(pk__in=row_ids(request.POST.getlist("vote")))
