"""Pages of rounds: the list, the order, one series with its plan, its line of ratings and what stopped it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, acted, chosen_row, in_project
from annotate.core.permissions import can
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project, Split
from common.whole_numbers import number_or_text, whole_number
from evaluation.core.field_labels import in_words_of
from evaluation.core.order_givers import ordered_by
from evaluation.experiments.arm_methods import METHODS
from evaluation.models import RoundReview, RoundSeries
from evaluation.rounds import actions, present, round_memory, round_order, round_words
from evaluation.rounds.round_order import ALL, FROM_FIRST, FROM_NEWEST, NEWEST, ROUND_METHODS, WEIGHTED

WHOLE = ("rounds", "judgements", "answers_per_prompt", "votes", "completions_per_prompt")
OPTIONAL = ("seconds", "accuracy_floor")
DEFAULTS = {
    "name": "", "method": "ppo", "rounds": "3", "judgements": "200", "answers_per_prompt": "4", "votes": "400",
    "completions_per_prompt": "2", "gain": "50", "older": ALL, "older_weight": "0.5", "starts": FROM_NEWEST,
    "seconds": "", "accuracy_floor": "", "judge": AnnotatorKind.PERSON,
}  # fmt: skip
LABELS = {
    "name": "Name", "parent": "First model", "prompts": "Prompts", "answers_per_prompt": "Answers to each prompt",
    "judgements": "Comparisons", "method": "Method", "starts": "Starts from", "older": "Annotations of older rounds",
    "older_weight": "Weight of older rounds", "completions_per_prompt": "Answers per eval prompt",
    "votes": "Blind votes against the model before", "gain": "Smallest gain worth another round",
    "rounds": "Rounds at most", "seconds": "Seconds of all runs at most",
    "accuracy_floor": "Lowest accuracy of the reward model on the newest comparisons",
    "questions": "Eval prompts", "judge": "Annotators", "project": "Project",
}  # fmt: skip


@in_project(get="read")
def all_rounds(request: HttpRequest, project: Project) -> HttpResponse:
    context = {
        "project": project,
        "every": project.round_series.select_related("parent"),
        "can_research": can(request.user, "research", project),
    }
    return render(request, "evaluation/rounds/all_rounds.html", context)


@in_project(get="research", post="research")
def new(request: MemberRequest, project: Project) -> HttpResponse:
    errors: dict[str, str] = {}
    if request.method == "POST":
        try:
            series = actions.order(project=project, by=request.user, **_ordered(request, project))
            return redirect("round-series", slug=project.slug, pk=series.pk)
        except Refused as refused:
            errors = in_words_of(refused, LABELS)
    prompts = Dataset.objects.filter(project=project, kind=Dataset.Kind.PROMPTS, side=Split.TRAIN)
    asked = request.POST or request.GET  # of a form that is not complete, to see what it would take
    values = {name: asked.get(name, default) for name, default in DEFAULTS.items()}
    context = {
        "project": project,
        "errors": errors,
        "labels": LABELS,
        "values": values,
        "foreseen": _foreseen(values),
        "methods": [METHODS[name] for name in ROUND_METHODS],
        "models": LanguageModel.objects.usable_in(project).available().policies().exclude(folder=""),
        "prompts": prompts,
        "parent": asked.get("parent", ""),
        "chosen_prompts": asked.get("prompts", ""),
        "olders": ((ALL, "all alike"), (WEIGHTED, "older rounds at a weight"), (NEWEST, "the newest round alone")),
        "starts": ((FROM_NEWEST, "the newest model"), (FROM_FIRST, "always the first model")),
    }
    return render(request, "evaluation/rounds/new_rounds.html", context, status=400 if errors else 200)


@in_project(get="read")
def rounds(request: HttpRequest, project: Project, pk: int) -> HttpResponse:
    series = get_object_or_404(project.round_series.select_related("parent", "project", "created_by"), pk=pk)
    can_research = can(request.user, "research", project)
    context = {
        "project": project,
        "series": series,
        "ordered_by": ordered_by(series.created_by, project, is_over=series.is_over) if can_research else "",
        "shown": present.shown(series),
        "plan": round_words.plan_in_words(series),
        "memory": round_memory.memory_in_words(series),
        "opinions": RoundReview.Opinion.choices,
        "can_research": can_research,
        "has_failed": series.rounds.exclude(problem="").exists() or bool(actions.failed_runs(series)),
    }
    return render(request, "evaluation/rounds/rounds.html", context)


@in_project(post="research")
def pause(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    return _acted(request, project, pk, lambda series: actions.pause(series=series, by=request.user))


@in_project(post="research")
def go_on(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    return _acted(request, project, pk, lambda series: actions.go_on(series=series, by=request.user))


@in_project(post="research")
def review(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    posted, number = request.POST, request.POST.get("number", "")
    said: dict[str, Any] = {"opinion": posted.get("opinion", ""), "note": posted.get("note", "")}
    said["number"] = whole_number(number, 0, digits=3)
    return _acted(request, project, pk, lambda series: actions.review(series=series, by=request.user, **said))


@in_project(post="research")
def retry(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    def again(series: RoundSeries) -> None:
        count = actions.retry(series=series, by=request.user)
        messages.success(request, f"{count} run{'s' if count != 1 else ''} resumed or ordered again.")

    return _acted(request, project, pk, again)


@in_project(post="research")
def cancel(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    return _acted(request, project, pk, lambda series: actions.cancel(series=series, by=request.user))


def _acted(request: MemberRequest, project: Project, pk: int, act: Callable[[RoundSeries], Any]) -> HttpResponse:
    series = get_object_or_404(project.round_series, pk=pk)
    return acted(request, project, lambda: act(series), "round-series", pk=pk)


def _foreseen(values: Mapping[str, str]) -> list[str]:
    """Return what the order in the form would take, or what keeps one from telling."""
    whole = {name: number_or_text(values[name], int) for name in WHOLE}
    others = {name: number_or_text(values[name], float) for name in ("gain", "older_weight")}
    limits = {name: number_or_text(values[name], float) if values[name].strip() else None for name in OPTIONAL}
    words = {name: values[name] for name in ("older", "starts", "judge")}
    given: dict[str, Any] = {**whole, **others, **limits, **words}
    try:
        method = round_order.require_arm(values["method"], {}).method
        return round_words.foreseen(round_order.require_rules(method=method, seed=0, **given))
    except Refused as refused:
        return [f"{label}: {text}" for label, text in in_words_of(refused, LABELS).items()]


def _ordered(request: MemberRequest, project: Project) -> dict[str, Any]:
    """Return the form as the action takes it. What is no number stays a text: the action says what is wrong."""
    posted = request.POST
    usable, prompts = LanguageModel.objects.usable_in(project), Dataset.objects.filter(project=project)
    chosen = posted.get("prompts", "")
    return {
        "name": posted.get("name", ""),
        "parent": chosen_row(
            usable, posted.get("parent", ""), "parent", "Choose the model that the rounds begin with."
        ),
        "prompts": chosen_row(prompts, chosen, "prompts", "Choose frozen prompts.") if chosen else None,
        **{name: posted.get(name, DEFAULTS[name]) for name in ("method", "older", "starts", "judge")},
        **{name: number_or_text(posted.get(name, DEFAULTS[name]), int) for name in WHOLE},
        **{name: number_or_text(posted.get(name, DEFAULTS[name]), float) for name in ("gain", "older_weight")},
        **{name: number_or_text(text, float) if (text := posted.get(name, "").strip()) else None for name in OPTIONAL},
    }
