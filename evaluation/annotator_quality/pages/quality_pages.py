"""Quality: how far judges agree, each annotator's figures, and a page of one's own: "how I judge"."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.cache import never_cache

from annotate.core.page_access import MemberRequest, in_project
from annotate.core.permissions import can
from annotate.labelling.bulk_status import ImportedAnnotator, Who, find_imported
from annotate.models import AnnotatorKind, Project, User
from evaluation.annotator_quality import exclusion, explanations, present
from evaluation.annotator_quality.findings import Findings, findings, settled_at
from evaluation.core.csv_files import csv_file

FLAGS = "flags"


def _asked(request: HttpRequest, project: Project) -> str:
    try:
        return present.asked_kind(project, request.GET.get("judge", ""))
    except ValueError as error:
        raise Http404(str(error)) from None


@never_cache
@in_project(get="review")
def page(request: MemberRequest, project: Project) -> HttpResponse:
    kind = _asked(request, project)
    found = findings(project, kind)
    order, is_reversed = _order(request.GET.get("sort", ""))
    scale = _scale(found, request.GET.get("scale", ""))
    context = {
        "project": project,
        "section": "data",
        "tab": "judges",
        "judge": kind,
        "found": found,
        "scales": [(each, explanations.of_alpha(each.alpha)) for each in found.scales],
        "marked": [(label, each, explanations.of_marks(each)) for label, each in found.marked],
        "in_matrix": _in_matrix(found),
        "headings": present.headings(found, order, is_reversed, kind),
        "rows": present.rows(found, order, is_reversed),
        "flagged": [judge for judge in found.judges if judge.is_flagged],
        "promised": explanations.PROMISED,
        "matrix": present.matrix(found, scale) if scale else None,
        "sort": request.GET.get("sort", ""),
        "excluded": exclusion.acts(project)
        .filter(undone_at=None)
        .filter(Q(person__is_simulated=kind == AnnotatorKind.SIMULATION) | Q(person=None)),
    }
    return render(request, "evaluation/quality.html", context)


@never_cache
@in_project(get="review")
def annotators_file(request: MemberRequest, project: Project, form: str) -> HttpResponse:
    kind = _asked(request, project)
    found = findings(project, kind)
    judges = [present.flat_annotator(judge) for judge in found.judges]
    if form == "json":
        scales = [present.flat_scale(scale) for scale in found.scales]
        marks = [present.flat_marks(label, each) for label, each in found.marked]
        told = {"project": project.slug, "judge": kind, "scales": scales, "marks": marks, "judges": judges}
        return JsonResponse(told)
    return csv_file(f"{project.slug}-judges-{kind}.csv", present.JUDGE_COLUMNS, judges)


@never_cache
@in_project(get="review")
def pairs_file(request: MemberRequest, project: Project, form: str) -> HttpResponse:
    kind = _asked(request, project)
    found = findings(project, kind)
    pairs = [present.flat_pair(found, scale, pair) for scale, pair in found.pairs]
    if form == "json":
        marks = [present.flat_mark_pair(found, pair) for pair in found.mark_pairs]
        return JsonResponse({"project": project.slug, "judge": kind, "pairs": pairs, "mark_pairs": marks})
    return csv_file(f"{project.slug}-judge-pairs-{kind}.csv", present.PAIR_COLUMNS, pairs)


@never_cache
@in_project(get="review")
def annotator(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """One annotator, for those who may read what others said."""
    person = get_object_or_404(_judges_of(project), pk=pk)
    context = _of_one(project, person) | {
        "manages": can(request.user, "manage", project),
        "acts": exclusion.acts(project).filter(person=person),
    }
    return render(request, "evaluation/quality_annotator.html", context)


@never_cache
@in_project(get="review")
def imported_judge(request: MemberRequest, project: Project) -> HttpResponse:
    """One whom only the file of an import names."""
    who = imported_annotator(request, project)
    context = _of_one(project, who) | {
        "manages": can(request.user, "manage", project),
        "acts": exclusion.acts(project).filter(person=None, source=who.source, source_judge=who.name),
    }
    return render(request, "evaluation/quality_annotator.html", context)


def imported_annotator(request: HttpRequest, project: Project) -> ImportedAnnotator:
    who = find_imported(project, request.GET.get("source", ""), request.GET.get("name", ""))
    if who is None:
        raise Http404("No annotation was imported here under that name; the quality page lists those that were.")
    return who


@never_cache
@in_project(get="judge")
def mine(request: MemberRequest, project: Project) -> HttpResponse:
    """One's own figures, beside what the others do; nobody else is named."""
    context = _of_one(project, request.user, is_own=True) | {
        "is_own": True,
        "settled_at": settled_at(project),
        "acts": exclusion.acts(project).filter(person=request.user),
    }
    return render(request, "evaluation/quality_annotator.html", context)


def _of_one(project: Project, who: Who, *, is_own: bool = False) -> dict[str, Any]:
    kind, found, mine = present.figures_of(project, who, is_own=is_own)
    is_imported = isinstance(who, ImportedAnnotator)
    return {
        "project": project,
        "section": "data",
        "judge": kind,
        "person": who,
        "is_imported": is_imported,
        "is_own": False,
        "mine": mine,
        "others": len(found.judges) - (mine is not None),
        "promised": explanations.PROMISED,
        "reasons": explanations.reasons(mine) if mine else [],
    }


def _judges_of(project: Project) -> Any:
    """Members, and whoever has judged here and has left."""
    return User.objects.filter(pk__in=present.annotator_ids(project))


def _order(sort: str) -> tuple[str, bool]:
    name = sort.removeprefix("-")
    known = {"name", "judgements", *(column for column, _, _ in present.COLUMNS)}
    return (name, sort.startswith("-")) if name in known else (FLAGS, False)


def _in_matrix(findings: Findings) -> list[str]:
    names = [scale.name for scale in findings.scales if scale.alpha.units]
    return [*names, present.MARKS] if findings.mark_pairs else names


def _scale(findings: Findings, text: str) -> str:
    names = _in_matrix(findings)
    return text if text in names else (names[0] if names else "")
