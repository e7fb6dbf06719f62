"""Show judge models: the list, a page for each like a person's, what they said, and the rating by both."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project
from annotate.core.permissions import can
from annotate.models import AnnotatorKind, DatasetFreeze, LanguageModel, Project
from common.charts.rating_charts import Interval, interval_chart
from common.charts.scene import svg
from common.judging import rubrics
from common.whole_numbers import row_id
from evaluation.core.voter_names import voters_of
from evaluation.core.while_computed import kept_age, page_waits
from evaluation.judge_models import actions, kept_by_rubric, present
from evaluation.judge_models.combined_rating import CombinedRating, combined_rating
from evaluation.judge_models.judge_figures import figures_of
from evaluation.judge_models.verdict_datasets import order_verdicts_freeze
from evaluation.leaderboard.snapshots import default_annotator_kind, votes_by_kind
from evaluation.models import JudgeModel, JudgeReply, KeptFigures, RepeatedVerdict, Rubric, Verdict
from training.models import Run

_ON_A_PAGE = 20
_IN_PICTURE = 10  # models
_EMPTY = {  # what a page of verdicts says where there are none, by what it is limited to
    "": "This version has judged nothing yet.",
    "torn": "No verdict of this version changed with the order.",
    "again": "This version has not been asked again.",
    "changed": "Asked again, this version gave no other verdict.",
}


def _requested_kind(request: HttpRequest, project: Project) -> str:
    kind = request.GET.get("judge") or default_annotator_kind(project)
    if kind not in AnnotatorKind.values:
        raise Http404(f"judge is one of {', '.join(AnnotatorKind.values)}, not {kind!r:.40}.")
    return kind


@never_cache
@in_project(get="review", post="research")
@page_waits
def judges(request: MemberRequest, project: Project) -> HttpResponse:
    """Show all judge models of the project, and a form for one more."""
    if "shown" in request.GET:
        kind = _requested_kind(request, project)
        return kept_age(request, kept_by_rubric.row_of(project, kind, KeptFigures.What.JUDGE_MODELS))
    if request.method != "POST":
        return _all(request, project, {}, {})
    fields = {name: request.POST.get(name, "") for name in ("name", "model", "form", "text")}
    model = LanguageModel.objects.filter(pk=row_id(fields["model"])).first()
    try:
        judge = actions.create_judge(
            project=project, by=request.user, name=fields["name"], model=model, text=fields["text"],
            form=fields["form"] or rubrics.PAIRWISE,
        )  # fmt: skip
    except Refused as refused:
        return _all(request, project, fields, refused.errors, refused.status)
    messages.success(request, "The judge model is added. Ask it for verdicts below.")
    return redirect("judge-model", project.slug, judge.pk)


def _all(
    request: HttpRequest, project: Project, fields: dict[str, str], errors: dict[str, str], status: int = 200
) -> HttpResponse:
    kind = _requested_kind(request, project)
    context = {
        "project": project,
        "judge": kind,
        "whose": voters_of(kind),
        "kind_votes": votes_by_kind(project),
        "rows": present.judge_rows(project, kind),
        "kept": kept_by_rubric.row_of(project, kind, KeptFigures.What.JUDGE_MODELS),
        "models": LanguageModel.objects.usable_in(project).policies().that_answer().available(),
        "forms": Rubric.Form.choices,
        "defaults": rubrics.DEFAULTS,
        "fields": fields,
        "errors": errors,
    }
    return render(request, "evaluation/judge_models/judges.html", context, status=status)


@never_cache
@in_project(get="review", post="research")
@page_waits
def judge(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show one judge model by a version of its rubric; change its rubric, or ask it for verdicts."""
    if "shown" in request.GET:
        kind = _requested_kind(request, project)
        return kept_age(request, kept_by_rubric.row_of(project, kind, KeptFigures.What.JUDGE_MODELS))
    found = get_object_or_404(JudgeModel.objects.select_related("model", "project"), project=project, pk=pk)
    if request.method != "POST":
        return _one(request, found, {})
    try:
        return _done(request, found)
    except Refused as refused:
        errors = {name.removeprefix("config."): text for name, text in refused.errors.items()}  # as the form has them
        return _one(request, found, errors, refused.status)


def _done(request: MemberRequest, judge: JudgeModel) -> HttpResponse:
    """Do what the pressed button asks for."""
    slug, post = judge.project.slug, request.POST
    match post.get("do"):
        case "rubric":
            form = post.get("form") or rubrics.PAIRWISE
            rubric = actions.add_rubric(judge=judge, by=request.user, text=post.get("text", ""), form=form)
            messages.success(request, f"Version {rubric.version} is the newest. Older verdicts keep their version.")
        case "verdicts":
            run = actions.order_verdicts(judge=judge, by=request.user, **_order(post.dict()))
            return redirect("run", run.pk)
        case "freeze":
            newest = _requested_rubric(request, judge)
            made = order_verdicts_freeze(rubric=newest, name=post.get("name", ""), by=request.user)
            if isinstance(made, DatasetFreeze):
                return redirect("dataset-freeze", slug, made.pk)
            messages.success(request, "The dataset is frozen. It says that a judge model labelled it.")
            return redirect("dataset", made.pk)
        case "retire" | "bring-back" as wanted:
            actions.retire(judge=judge, by=request.user, is_retired=wanted == "retire")
            messages.success(request, "Done. What it said stays.")
        case _:
            raise Refused(400, do="Unknown action; use one of the buttons.")
    return redirect("judge-model", slug, judge.pk)


def _order(post: dict[str, str]) -> dict[str, Any]:
    """Return the options of an order as the form sends them; what is no number is refused with its field."""
    try:
        limit = int(post.get("limit") or 1000)
    except ValueError:
        raise Refused(400, limit="Enter a whole number of pairs.") from None
    options = {name: post[name] for name in ("items", "split", "annotators") if post.get(name)}
    return {"limit": limit, **options}


def _one(request: HttpRequest, judge: JudgeModel, errors: dict[str, str], status: int = 200) -> HttpResponse:
    project = judge.project
    kind, rubric = _requested_kind(request, project), _requested_rubric(request, judge)
    figures = figures_of(rubric, kind)
    context = {
        "project": project,
        "judge": kind,
        "whose": voters_of(kind),
        "kind_votes": votes_by_kind(project),
        "judge_model": judge,
        "rubric": rubric,
        "repeated": present.repeated_rows(figures),
        "versions": judge.rubrics.all(),
        "figures": figures,
        "kept": kept_by_rubric.row_of(project, kind, KeptFigures.What.JUDGE_MODELS),
        "sentences": present.sentences(figures, kind),
        "forms": Rubric.Form.choices,
        "runs": Run.objects.filter(project=project, kind="verdicts", config__judge=judge.name)[:5],
        "errors": errors,
        "error_lines": [*errors.items()],  # one field is `items`: a template would take its text for all of them
        "posted": request.POST,
    }
    return render(request, "evaluation/judge_models/judge.html", context, status=status)


def _requested_rubric(request: HttpRequest, judge: JudgeModel) -> Rubric:
    versions = judge.rubrics.select_related("judge__model", "judge__project")
    wanted = request.GET.get("version", "")
    rubric = versions.filter(version=row_id(wanted)).first() if wanted else versions.first()
    if rubric is None:
        raise Http404(f"{judge.name} has no version {wanted!r:.40} of its rubric.")
    return rubric


@never_cache
@in_project(get="review")
def verdicts(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show what a judge said by a version of its rubric, with its reasons; `only` some of it (`_only`)."""
    found = get_object_or_404(JudgeModel.objects.select_related("model", "project"), project=project, pk=pk)
    rubric = _requested_rubric(request, found)
    only = request.GET.get("only", "")
    only = only if only in _EMPTY else ""
    page = Paginator(_only(rubric, only), _ON_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "project": project,
        "judge_model": found,
        "rubric": rubric,
        "page": page,
        "verdicts": [(verdict, _in_words(verdict), _repeats_in_words(verdict)) for verdict in page],
        "only": only,
        "empty": _EMPTY[only],
        "has_repeats": RepeatedVerdict.objects.filter(verdict__rubric=rubric).exists(),
        "query": f"version={rubric.version}&{f'only={only}&' if only else ''}",
    }
    return render(request, "evaluation/judge_models/verdicts.html", context)


def _only(rubric: Rubric, only: str) -> QuerySet[Verdict]:
    """Return those whose two orders differ (`torn`), that a later run asked `again`, or to which it heard another
    verdict (`changed`)."""
    rows = rubric.verdicts.select_related("prompt", "completion_a__model", "completion_b__model")
    rows = rows.prefetch_related("repeats").order_by("-pk")
    again = RepeatedVerdict.objects.filter(verdict=OuterRef("pk"))
    if only == "torn":
        return rows.exclude(a_first=F("b_first"))
    if only == "again":
        return rows.filter(Exists(again))
    if only == "changed":
        is_scale = rubric.form == Rubric.Form.SCALE
        said = Q(grade=OuterRef("grade")) if is_scale else Q(winner=OuterRef("winner"))
        return rows.filter(Exists(again.exclude(said)))
    return rows


def _repeats_in_words(verdict: Verdict) -> list[tuple[RepeatedVerdict, list[tuple[str, str]], bool]]:
    """Return what later runs heard, with the replies, and whether it is another verdict."""
    said = (verdict.winner, verdict.grade)
    return [(one, _in_words(one), (one.winner, one.grade) != said) for one in verdict.repeats.all()]


def _in_words(verdict: JudgeReply) -> list[tuple[str, str]]:
    """Return each reply under what it was asked."""
    if verdict.grade is not None:
        return [(f"Grade {verdict.grade:g}", reply) for reply in verdict.reasons]
    said = {"model_a": "A is better", "model_b": "B is better", "tie": "a tie", "": "not asked"}
    orders = (("A shown first", verdict.a_first), ("B shown first", verdict.b_first))
    if not verdict.a_first:
        return [("Not asked", reply) for reply in verdict.reasons]
    return [(f"{shown}: {said[each]}", reply) for (shown, each), reply in zip(orders, verdict.reasons, strict=False)]


@in_project(get="read")
@page_waits
def with_judge(request: HttpRequest, project: Project) -> HttpResponse:
    """Show the rating by votes and verdicts together, beside that by votes alone; `?by=` names a judge's version."""
    kind = _requested_kind(request, project)
    if "shown" in request.GET:
        return kept_age(request, kept_by_rubric.row_of(project, kind, KeptFigures.What.JUDGE_RATINGS))
    offered = list(
        Rubric.objects.filter(judge__project=project)
        .filter(Exists(Verdict.objects.filter(rubric=OuterRef("pk"))))
        .select_related("judge__model", "judge__project")
        .order_by("judge_id", "-version")
    )
    wanted = row_id(request.GET.get("by", ""))
    rubric = next((each for each in offered if each.pk == wanted), None) if "by" in request.GET else None
    if "by" in request.GET and rubric is None:
        raise Http404("There is no such version of a judge model here.")
    rubric = rubric or next(iter(offered), None)
    rating = combined_rating(project, kind, rubric) if rubric else None
    context = {
        "project": project,
        "tab": "with-judge",
        "may_see_judges": can(request.user, "review", project),
        "judge": kind,
        "whose": voters_of(kind),
        "kind_votes": votes_by_kind(project),
        "offered": offered,
        "rubric": rubric,
        "rating": rating,
        "kept": kept_by_rubric.row_of(project, kind, KeptFigures.What.JUDGE_RATINGS),
        "picture": svg(_picture(rating)) if rating else "",
    }
    return render(request, "evaluation/judge_models/with_judge.html", context)


def _picture(rating: CombinedRating) -> Any:
    rows = [
        Interval(name, *ends)
        for row in rating.rows[:_IN_PICTURE]
        for name, ends in (
            (row.model.name, (row.rating, row.lower, row.upper)),
            (f"– {voters_of(rating.kind)} alone", (row.people, row.people_lower, row.people_upper)),
        )
    ]
    return interval_chart(rows, "Ratings with a judge model and by votes alone, with their 95 % intervals")
