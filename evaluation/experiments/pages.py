"""Pages of experiments: the list, the order, one experiment with its plan, its arms and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, acted, chosen_row, in_project
from annotate.core.permissions import can
from annotate.data.datasets.sampled_prompts import prompts_to_sample
from annotate.models import AnnotatorKind, Dataset, LanguageModel, Project, Split
from common.whole_numbers import number_or_text, row_id
from evaluation.core.field_labels import in_words_of
from evaluation.core.order_givers import ordered_by
from evaluation.experiments import actions, arm_methods, experiment_words, foresight, order_checks, present
from evaluation.experiments.arm_methods import BASE, METHODS, ORDERED, UNITS, Budget
from evaluation.experiments.family_tests import AGAINST_BASELINE, ALL_PAIRS
from evaluation.models import Experiment

NUMBERS = {"seeds": int, "votes_per_pair": int, "completions_per_prompt": int, "alpha": float, "amount": float}
DEFAULTS = {
    "name": "", "seeds": "3", "votes_per_pair": "40", "completions_per_prompt": "2", "alpha": "0.05", "unit": "",
    "amount": "", "judge": AnnotatorKind.PERSON, "family": AGAINST_BASELINE, "baseline": BASE, "stop": "votes",
    "until": "",
}  # fmt: skip
LABELS = {
    "name": "Name", "parent": "Model", "dataset": "Annotations", "reward_model": "Reward model", "seeds": "Seeds",
    "completions_per_prompt": "Answers per eval prompt", "amount": "Budget of each model", "family": "Compare",
    "baseline": "Baseline", "votes_per_pair": "Votes for each pair of arms", "until": "Moment, in UTC",
    "alpha": "Family-wise error rate",
    "arms": "Arms", "budget": "Budget of each model", "budget.unit": "Budget of each model",
    "budget.amount": "Budget of each model", "takes_checkpoints": "Checkpoints", "questions": "Eval prompts",
    "judge": "Votes", "project": "Project",
}  # fmt: skip
# Ticked at first: all eight would be 24 models of three seeds, and 1,440 votes.
TICKED = ("best_of", "sft", "dpo", "ppo")
NO_MOMENT = "Enter a date and a time to come, in UTC."


@in_project(get="read")
def experiments(request: HttpRequest, project: Project) -> HttpResponse:
    context = {
        "project": project,
        "experiments": project.experiments.select_related("parent", "dataset"),
        "can_research": can(request.user, "research", project),
    }
    return render(request, "evaluation/experiments/experiments.html", context)


@in_project(get="research", post="research")
def new(request: MemberRequest, project: Project) -> HttpResponse:
    errors: dict[str, str] = {}
    if request.method == "POST":
        try:
            experiment = actions.order(project=project, by=request.user, **_ordered(request, project))
            return redirect("experiment", slug=project.slug, pk=experiment.pk)
        except Refused as refused:
            errors = _as_on_the_page(refused, request.POST.getlist("method"))
    asked = request.POST or request.GET  # of a form that is not complete, to see what it would take
    values = {name: asked.get(name, default) for name, default in DEFAULTS.items()}
    chosen = asked.getlist("method") or list(TICKED)
    datasets = Dataset.objects.filter(project=project, kind=Dataset.Kind.PREFERENCES).exclude(judge="model")
    context = {
        "project": project,
        "errors": errors,
        "labels": LABELS,
        "values": values,
        "chosen": chosen,
        "foreseen": _foreseen(project, asked, values, chosen, datasets),
        "methods": [(METHODS[name], asked.get(f"options.{name}", "")) for name in ORDERED],
        "arm_names": [BASE, *(arm_methods.expanded({"method": name})[0][0] for name in ORDERED)],
        "models": LanguageModel.objects.usable_in(project).available().policies().exclude(folder=""),
        "reward_models": LanguageModel.objects.usable_in(project).available().filter(kind=LanguageModel.Kind.REWARD),
        "datasets": datasets,
        "parent": asked.get("parent", ""),
        "reward_model": asked.get("reward_model", ""),
        "dataset": asked.get("dataset", ""),
        "measures_tax": asked.get("measures_tax") == "on",
        "takes_checkpoints": _takes_checkpoints(asked),
        "units": UNITS,
        "families": ((AGAINST_BASELINE, "each arm against the baseline"), (ALL_PAIRS, "every arm against every other")),
    }
    return render(request, "evaluation/experiments/new_experiment.html", context, status=400 if errors else 200)


@in_project(get="read")
def experiment(request: HttpRequest, project: Project, pk: int) -> HttpResponse:
    row = get_object_or_404(
        project.experiments.select_related("parent", "dataset", "reward_run", "reward_model", "created_by"), pk=pk
    )
    shown, can_research = present.shown(row), can(request.user, "research", project)
    context = {
        "project": project,
        "experiment": row,
        "ordered_by": ordered_by(row.created_by, project, is_over=row.is_over) if can_research else "",
        "shown": shown,
        "plan": experiment_words.plan_in_words(row) + foresight.of_plan(row),
        "methods": [METHODS[name] for name in ORDERED],
        "can_research": can_research,
        "has_failed": any(one.state == "refused" for arm in shown.rows for one in arm.seeds)
        or bool(actions.failed_runs(row))
        or bool(row.problem),
    }
    response = render(request, "evaluation/experiments/experiment.html", context)
    if request.headers.get("HX-Request") and row.state != Experiment.State.FREEZING:
        response["HX-Refresh"] = "true"  # what waited for its datasets shows its arms
    return response


@in_project(post="research")
def add_arm(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    def add(row: Experiment) -> None:
        method = request.POST.get("method", "")
        arm = _arm(request.POST, method, "options") | {"name": request.POST.get("name", "")}
        _require_checkpoints(request.POST, [arm])
        added = actions.add_arm(experiment=row, by=request.user, arm=arm)
        messages.success(request, f"{added[0].name} was added as an exploratory arm.")

    return _acted(request, project, pk, add)


@in_project(post="research")
def retry(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    def again(row: Experiment) -> None:
        count = actions.retry(experiment=row, by=request.user)
        messages.success(request, f"{count} run{'s' if count != 1 else ''} resumed or ordered again.")

    return _acted(request, project, pk, again)


@in_project(post="research")
def cancel(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    return _acted(request, project, pk, lambda row: actions.cancel(experiment=row, by=request.user))


def _acted(request: MemberRequest, project: Project, pk: int, act: Callable[[Experiment], object]) -> HttpResponse:
    row = get_object_or_404(project.experiments, pk=pk)
    return acted(request, project, lambda: act(row), "experiment", pk=pk)


def _ordered(request: HttpRequest, project: Project) -> dict[str, Any]:
    """Return the form as the action takes it. What is no number stays a text: the action says what is wrong."""
    posted = request.POST
    values = {name: number_or_text(posted.get(name, ""), kind) for name, kind in NUMBERS.items()}
    usable = LanguageModel.objects.usable_in(project)
    unit, reward_model = posted.get("unit", ""), posted.get("reward_model", "")
    stops_at_votes = posted.get("stop", "votes") == "votes"
    arms = [_arm(posted, method, f"options.{method}") for method in posted.getlist("method")]
    _require_checkpoints(posted, arms)
    return {
        "name": posted.get("name", ""),
        "parent": chosen_row(
            usable, posted.get("parent", ""), "parent", "Choose the model that every arm starts from."
        ),
        "dataset": chosen_row(
            Dataset.objects.filter(project=project), posted.get("dataset", ""), "dataset",
            "Choose a dataset of preferences; freeze one under Data first.",
        ),
        "arms": arms,
        "reward_model": chosen_row(
            usable, reward_model, "reward_model", "Choose a reward model of this project, or none."
        ) if reward_model else None,
        "seeds": values["seeds"],
        "budget": {"unit": unit, "amount": values["amount"]} if unit else None,
        "judge": posted.get("judge", ""),
        "baseline": posted.get("baseline") or BASE,
        "family": posted.get("family", ""),
        "alpha": values["alpha"],
        "votes_per_pair": values["votes_per_pair"] if stops_at_votes else None,
        "until": None if stops_at_votes else f"{posted.get('until', '')}Z",
        "completions_per_prompt": values["completions_per_prompt"],
        "measures_tax": posted.get("measures_tax") == "on",
    }  # fmt: skip


def _foreseen(
    project: Project, asked: QueryDict, values: Mapping[str, str], methods: Sequence[str], datasets: QuerySet[Dataset]
) -> list[str]:
    """Return what the order in the form would take, or what keeps one from telling."""
    numbers = {name: number_or_text(values[name], kind) for name, kind in NUMBERS.items()}
    stops_at_votes = values["stop"] == "votes"
    try:
        given = [_arm(asked, method, f"options.{method}") for method in methods]
        arms = order_checks.require_arms(given, budget=Budget(values["unit"]))
        plan = order_checks.require_plan(
            arms=[BASE, *(arm.name for arm in arms)], baseline=values["baseline"] or BASE, family=values["family"],
            alpha=numbers["alpha"], seeds=numbers["seeds"], judge=values["judge"],
            votes_per_pair=numbers["votes_per_pair"] if stops_at_votes else None,
            until=None if stops_at_votes else f"{values['until']}Z", checkpoints=sum(arm.checkpoints for arm in arms),
        )  # fmt: skip
    except Refused as refused:
        return [f"{label}: {text}" for label, text in _as_on_the_page(refused, methods).items()]
    dataset = datasets.filter(pk=row_id(asked.get("dataset", ""))).first() or datasets.first()
    each = numbers["completions_per_prompt"] if isinstance(numbers["completions_per_prompt"], int) else 1
    models = LanguageModel.objects.usable_in(project)
    parent = models.filter(pk=row_id(asked.get("parent", ""))).first()
    with suppress(Refused):  # the order itself says why
        if values["unit"] and parent is not None:
            budget = order_checks.require_budget({"unit": values["unit"], "amount": numbers["amount"]})
            shown = each * prompts_to_sample(project, Split.EVAL).count()
            known = {"preferences": dataset}
            arms = [order_checks.budgeted(arm, budget, project, parent, known, shown) for arm in arms]
    return foresight.of_order(project, parent, dataset, arms, plan, each)


def _arm(posted: Mapping[str, str], method: str, field: str) -> dict[str, Any]:
    try:
        config, sweep = arm_methods.options_in_text(posted.get(field, ""))
    except ValueError as error:
        raise Refused(400, **{field: str(error)}) from error
    takes = _takes_checkpoints(posted) and "kept_checkpoints" in config | sweep
    return {"method": method, "config": config, "sweep": sweep, "takes_checkpoints": takes}


def _require_checkpoints(posted: Mapping[str, str], arms: Sequence[Mapping[str, Any]]) -> None:
    if _takes_checkpoints(posted) and not any(arm["takes_checkpoints"] for arm in arms):
        raise Refused(400, takes_checkpoints="No arm keeps checkpoints: write kept_checkpoints=2 among its options.")


def _takes_checkpoints(posted: Mapping[str, str]) -> bool:
    return posted.get("takes_checkpoints") == "on"


def _as_on_the_page(refused: Refused, methods: Sequence[str]) -> dict[str, str]:
    """Return the errors by what the page calls their fields. Its moment takes no time zone, as the API's does."""
    said = {field: NO_MOMENT if field == "until" else text for field, text in refused.errors.items()}
    labels = LABELS | {field: _arm_on_the_page(field, methods) for field in said if field not in LABELS}
    return in_words_of(Refused(**said), labels)


def _arm_on_the_page(field: str, methods: Sequence[str]) -> str:
    """Return a field of the action about an arm by the arm's name on the page: of arms.1.config.beta, of arms.dpo, or
    of arms.DPO beta=0.1.config.beta. Of any other field "" is returned."""
    of, _, rest = field.partition(".")
    if of == "options" and rest in METHODS:
        return f"Options of {METHODS[rest].title}"
    if of != "arms":
        return ""
    number, _, option = rest.partition(".")
    if number.isdecimal() and int(number) < len(methods) and methods[int(number)] in METHODS:
        return f"{METHODS[methods[int(number)]].title}: {option.split('.')[-1]}"
    if rest in METHODS:
        return METHODS[rest].title
    arm, _, option = rest.partition(".config.") if ".config." in rest else rest.rpartition(".")
    return f"{arm}: {option}"
