"""Show the decision: what is served and why, the candidates, the rule, its history, what to ask next, costs."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, allows, in_project, refused_page
from annotate.core.permissions import can
from annotate.data.feedback_lineage import TEACHING, TITLES
from annotate.models import AnnotatorKind, LanguageModel, Project, Split
from common.whole_numbers import row_id, whole_number
from evaluation.core import notices, served_model
from evaluation.leaderboard.snapshots import current, default_annotator_kind
from evaluation.models import Candidacy, PromotionRule
from evaluation.promotion import actions, candidate_review, disputed_items
from evaluation.promotion import arena_sampling as sampling
from evaluation.promotion.enrolment import FEW_PROMPTS, annotator_kind_of, rule_of
from evaluation.promotion.tolerances import limit_of, measures, unit_of
from evaluation.promotion.variants import variants
from evaluation.registry.cost import costs

PER_PAGE = 50
MOST_RATES = 200
MOST_CANDIDATES = 20
FREE_ROWS = 2


@in_project(get="read")
def decisions(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the decision. Opening it looks at the evidence, so that the page is of this moment, whether a worker runs or
    not."""
    candidate_review.look(project)
    rule, in_force = rule_of(project), served_model.promoted(project)
    board = current(project=project, judge=annotator_kind_of(project))
    standing = candidate_review.candidates(project)
    history = project.decisions.select_related("candidacy__model", "by", "rule")
    context = {
        "project": project,
        "rule": rule,
        "rule_in_words": actions.in_words(rule) if rule else "",
        "promotion": in_force,
        "before": served_model.served_before(project),
        "candidates": standing[:MOST_CANDIDATES],
        "further": standing[MOST_CANDIDATES:],
        "rates": sampling.rates(project)[:MOST_RATES],
        "floor": sampling.FLOOR,
        "families": variants(project, board),
        "board": board,
        "history": Paginator(history, PER_PAGE).get_page(request.GET.get("page")),
        "can_manage": can(request.user, "manage", project),
        "can_research": can(request.user, "research", project),
        "servable": LanguageModel.objects.available().filter(contests__project=project, contests__left_at=None),
    }
    return render(request, "evaluation/promotion/decisions.html", context)


@in_project(post="manage")
def promote(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    candidacy = get_object_or_404(Candidacy.objects.select_related("model"), pk=pk, project=project)
    reason = request.POST.get("reason", "")
    try:
        actions.promote(project=project, model=candidacy.model, reason=reason, by=request.user)
        messages.success(request, f"{project} now serves {candidacy.model} by default.")
    except Refused as refused:
        messages.error(request, " ".join(refused.errors.values()))
    return redirect("decisions", project.slug)


@in_project(post="manage")
def promote_named(request: MemberRequest, project: Project) -> HttpResponse:
    """Serve the model that a manager chooses by hand."""
    pk = request.POST.get("model", "")
    model = get_object_or_404(LanguageModel.objects.usable_in(project), pk=row_id(pk))
    try:
        actions.promote(project=project, model=model, reason=request.POST.get("reason", ""), by=request.user)
        messages.success(request, f"{project} now serves {model} by default.")
    except Refused as refused:
        messages.error(request, " ".join(refused.errors.values()))
    return redirect("decisions", project.slug)


@in_project(post="manage")
def roll_back(request: MemberRequest, project: Project) -> HttpResponse:
    reason, seen = request.POST.get("reason", ""), request.POST.get("promotion", "")
    try:
        promotion = actions.roll_back(
            project=project, reason=reason, by=request.user, promotion=row_id(seen) if seen else None
        )
        messages.success(request, f"{project} serves {promotion.model} again.")
    except Refused as refused:
        messages.error(request, " ".join(refused.errors.values()))
    return redirect("decisions", project.slug)


@in_project(get="manage", post="manage")
def rule(request: MemberRequest, project: Project) -> HttpResponse:
    """Show the rule as a form; saving it makes a new version."""
    if request.method == "POST":
        try:
            rule_fields = _posted_rule(request)
            actions.set_rule(project=project, by=request.user, **rule_fields)
        except Refused as refused:
            context = _rule_form(project, request.POST.dict()) | {"errors": refused.errors}
            return render(request, "evaluation/promotion/rule_form.html", context, status=refused.status)
        messages.success(request, "The rule is saved. All candidates are checked by it.")
        return redirect("decisions", project.slug)
    return render(request, "evaluation/promotion/rule_form.html", _rule_form(project, None))


@in_project(get="read", post="research")
def ask(request: MemberRequest, project: Project) -> HttpResponse:
    """Show what annotators disagree about, and the button that puts it first in the queue again."""
    if request.method == "POST":
        try:
            keys, more = request.POST.getlist("item"), _whole_number(request.POST.get("more", ""))
            asked_items = disputed_items.ask_again(project=project, keys=keys, by=request.user, more=more)
            clause = "1 item comes" if len(asked_items) == 1 else f"{len(asked_items)} items come"
            messages.success(request, f"{clause} first in the queue now.")
        except Refused as refused:
            return refused_page(request, refused, project=project)
        return redirect(f"{request.path}?judge={request.POST.get('judge', '')}")
    judge = request.GET.get("judge") or default_annotator_kind(project)
    judge = judge if judge in AnnotatorKind.values else AnnotatorKind.PERSON
    may_see = can(request.user, "review", project)  # others' feedback
    context = {
        "project": project,
        "judge": judge,
        "may_see": may_see,
        "train": disputed_items.disputes(project, Split.TRAIN, judge) if may_see else [],
        "eval": disputed_items.disputes(project, Split.EVAL, judge, 20) if may_see else [],
        "waiting": disputed_items.waiting(project),
        "more": disputed_items.MORE_JUDGES,
        "can_research": can(request.user, "research", project),
    }
    return render(request, "evaluation/promotion/ask_next.html", context)


@in_project(get="read")
def cost(request: HttpRequest, project: Project) -> HttpResponse:
    board = current(project=project, judge=annotator_kind_of(project))
    kinds = ", ".join(TITLES[kind].lower() for kind in TEACHING)
    context = {"project": project, "board": board, "costs": costs(project, board), "kinds": kinds}
    return render(request, "evaluation/promotion/cost.html", context)


@allows(get="account")
def notice_list(request: MemberRequest) -> HttpResponse:
    """Show what one was told, the latest first, and mark it as seen; new lines are marked once more."""
    rows = list(request.user.notices.select_related("project", "alert")[:100])
    new = {row.pk for row in rows if row.seen_at is None}
    if request.method == "GET":
        notices.mark_seen(user=request.user, ids=new)
    return render(request, "evaluation/promotion/notices.html", {"notices": rows, "new": new})


def _rule_form(project: Project, posted: dict[str, str] | None) -> dict[str, Any]:
    rule = rule_of(project) or PromotionRule(project=project, judge=default_annotator_kind(project))
    values: dict[str, Any] = {
        name: getattr(rule, name)
        for name in ("judge", "margin", "fewest_votes", "sampling", "always_valid", "first_votes_only",
                     "beats_champion", "is_automatic")
    }  # fmt: skip
    rows = _tolerance_rows(project, rule.tolerances)
    if posted is not None:
        values |= {name: posted.get(name, "") for name in ("judge", "margin", "fewest_votes", "sampling")}
        values |= {name: posted.get(name) == "on" for name in ("first_votes_only", "beats_champion")}
        values |= {"always_valid": posted.get("how") == "sequence", "is_automatic": posted.get("who") == "rule"}
        rows = _rows_posted(posted)
    return {
        "project": project,
        "values": values,
        "rows": rows,
        "is_first": rule.pk is None,
        "few_prompts": FEW_PROMPTS,
        "samplings": PromotionRule.Sampling.choices,
    }


def _tolerance_rows(project: Project, tolerances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what the rule tolerates, then what was measured here and could be part of it, then a few free lines."""
    rows = [{**tolerance, "is_known": True} for tolerance in tolerances]
    named = {(row["task"], row["metric"]) for row in rows}
    for task, metric in measures(project):
        if (task, metric) not in named:
            rows.append({"task": task, "metric": metric, "worst": "", "is_known": True})
    rows += [{"task": "", "metric": "", "worst": "", "is_known": False}] * FREE_ROWS
    return [{**row, "limit": limit_of(row["metric"]), "unit": unit_of(row["metric"])} for row in rows]


def _rows_posted(posted: dict[str, str]) -> list[dict[str, Any]]:
    names = (name.removeprefix("task.") for name in posted if name.startswith("task."))
    numbers = sorted(n for name in names if (n := whole_number(name, None, digits=5)) is not None)
    return [
        {
            "task": posted.get(f"task.{n}", ""),
            "metric": posted.get(f"metric.{n}", ""),
            "worst": posted.get(f"worst.{n}", ""),
            "is_known": posted.get(f"known.{n}") == "1",
            "limit": limit_of(posted.get(f"metric.{n}", "")),
            "unit": unit_of(posted.get(f"metric.{n}", "")),
        }
        for n in numbers
    ]


def _posted_rule(request: HttpRequest) -> dict[str, Any]:
    """Return the form as the action takes it. A measure without a tolerance is no part of the rule."""
    posted = request.POST
    rows = [row for row in _rows_posted(posted.dict()) if row["worst"].strip()]
    return {
        "judge": posted.get("judge", ""),
        "margin": _number(posted.get("margin", "")),
        "fewest_votes": _whole_number(posted.get("fewest_votes", "") or "0"),
        "sampling": posted.get("sampling", ""),
        "always_valid": posted.get("how") == "sequence",
        "first_votes_only": posted.get("first_votes_only") == "on",
        "beats_champion": posted.get("beats_champion") == "on",
        "is_automatic": posted.get("who") == "rule",
        "tolerances": [{**{k: row[k] for k in ("task", "metric")}, "worst": _number(row["worst"])} for row in rows],
    }


def _number(text: str) -> float | str:
    """Return a number, or the text as it was: the action says what is wrong with it."""
    try:
        return float(text)
    except ValueError:
        return text


def _whole_number(text: str) -> int | str:
    return whole_number(text, text, digits=11)
