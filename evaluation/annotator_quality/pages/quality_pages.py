"""Show quality: how far annotators agree, each one's figures, and a page of one's own."""

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
from evaluation.annotator_quality.loading import Annotator as Named
from evaluation.core import kept_figures
from evaluation.core.csv_files import csv_file
from evaluation.core.while_computed import file_waits, kept_age, page_waits
from evaluation.models import Alert, Exclusion, KeptFigures

FLAGS = "flags"


def _requested_kind(request: HttpRequest, project: Project) -> str:
    try:
        return present.requested_kind(project, request.GET.get("judge", ""))
    except ValueError as error:
        raise Http404(str(error)) from None


@never_cache
@in_project(get="review")
@page_waits
def page(request: MemberRequest, project: Project) -> HttpResponse:
    kind = _requested_kind(request, project)
    if "shown" in request.GET:
        return kept_age(request, kept_figures.look(project, kind, KeptFigures.What.QUALITY))
    findings_ = findings(project, kind)
    row = kept_figures.look(project, kind, KeptFigures.What.QUALITY) if findings_.is_kept else None
    order, is_reversed = _order(request.GET.get("sort", ""))
    scale = _scale(findings_, request.GET.get("scale", ""))
    context = {
        "project": project,
        "judge": kind,
        "found": findings_,
        "kept": row,
        "shown_at": row and row.computed_at,
        "scales": [(each, explanations.of_alpha(each.alpha)) for each in findings_.scales],
        "marked": [(label, each, explanations.of_marks(each)) for label, each in findings_.marked],
        "in_matrix": _in_matrix(findings_),
        "headings": present.headings(findings_, order, is_reversed, kind),
        "rows": present.rows(findings_, order, is_reversed),
        "flagged": [judge for judge in findings_.judges if judge.is_flagged],
        "promised": explanations.PROMISED,
        "matrix": present.matrix(findings_, scale) if scale else None,
        "sort": request.GET.get("sort", ""),
        "excluded": _excluded(project, kind, findings_),
    }
    return render(request, "evaluation/annotator_quality/quality.html", context)


def _excluded(project: Project, kind: str, findings: Findings) -> list[Exclusion]:
    """Return the acts that hold of those who are not in the tables: who was not paused may have annotated since."""
    acts = exclusion.acts(project).filter(undone_at=None)
    acts = acts.filter(Q(person__is_simulated=kind == AnnotatorKind.SIMULATION) | Q(person=None))
    shown = {figures.judge for figures in findings.judges}
    return [act for act in acts if Named(act.person_id, act.source, act.source_judge) not in shown]


@never_cache
@in_project(get="review")
@file_waits
def annotators_file(request: MemberRequest, project: Project, form: str) -> HttpResponse:
    kind = _requested_kind(request, project)
    findings_ = findings(project, kind)
    judges = [present.flat_annotator(judge) for judge in findings_.judges]
    if form == "json":
        scales = [present.flat_scale(scale) for scale in findings_.scales]
        marks = [present.flat_marks(label, each) for label, each in findings_.marked]
        body = {"project": project.slug, "judge": kind, "scales": scales, "marks": marks, "judges": judges}
        return JsonResponse(body)
    return csv_file(f"{project.slug}-judges-{kind}.csv", present.JUDGE_COLUMNS, judges)


@never_cache
@in_project(get="review")
@file_waits
def pairs_file(request: MemberRequest, project: Project, form: str) -> HttpResponse:
    kind = _requested_kind(request, project)
    findings_ = findings(project, kind)
    pairs = [present.flat_pair(findings_, scale, pair) for scale, pair in findings_.pairs]
    if form == "json":
        marks = [present.flat_mark_pair(findings_, pair) for pair in findings_.mark_pairs]
        return JsonResponse({"project": project.slug, "judge": kind, "pairs": pairs, "mark_pairs": marks})
    return csv_file(f"{project.slug}-judge-pairs-{kind}.csv", present.PAIR_COLUMNS, pairs)


@never_cache
@in_project(get="review")
@page_waits
def annotator(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Show one annotator, for those who may read what others said."""
    person = get_object_or_404(_judges_of(project), pk=pk)
    context = _of_one(project, person) | {
        "manages": can(request.user, "manage", project),
        "acts": exclusion.acts(project).filter(person=person),
        "alert": _open_alert(project, str(pk)) if can(request.user, "research", project) else None,
    }
    return render(request, "evaluation/annotator_quality/quality_annotator.html", context)


def _open_alert(project: Project, about: str) -> Alert | None:
    """Return the open alert that says that an annotator is flagged."""
    return Alert.objects.open().filter(project=project, kind="annotator.flagged", about=about).first()


@never_cache
@in_project(get="review")
@page_waits
def imported_judge(request: MemberRequest, project: Project) -> HttpResponse:
    """Show an annotator whom only the file of an import names."""
    annotator_ = imported_annotator(request, project)
    context = _of_one(project, annotator_) | {
        "manages": can(request.user, "manage", project),
        "acts": exclusion.acts(project).filter(person=None, source=annotator_.source, source_judge=annotator_.name),
    }
    return render(request, "evaluation/annotator_quality/quality_annotator.html", context)


def imported_annotator(request: HttpRequest, project: Project) -> ImportedAnnotator:
    annotator_ = find_imported(project, request.GET.get("source", ""), request.GET.get("name", ""))
    if annotator_ is None:
        raise Http404("There are no imported annotations under this name; the quality page lists the names.")
    return annotator_


@never_cache
@in_project(get="judge")
@page_waits
def mine(request: MemberRequest, project: Project) -> HttpResponse:
    """Show one's own figures, beside what the others do; nobody else is named."""
    context = _of_one(project, request.user, is_own=True)
    context |= {
        "is_own": True,
        "settled_at": context["until"] or settled_at(project),
        "acts": exclusion.acts(project).filter(person=request.user),
    }
    return render(request, "evaluation/annotator_quality/quality_annotator.html", context)


def _of_one(project: Project, annotator_: Who, *, is_own: bool = False) -> dict[str, Any]:
    kind, findings_, figures = present.figures_of(project, annotator_, is_own=is_own)
    is_imported = isinstance(annotator_, ImportedAnnotator)
    return {
        "project": project,
        "judge": kind,
        "person": annotator_,
        "is_imported": is_imported,
        "is_own": False,
        "mine": figures,
        "until": findings_.until,
        "others": len(findings_.judges) - (figures is not None),
        "promised": explanations.PROMISED,
        "reasons": explanations.reasons(figures) if figures else [],
    }


def _judges_of(project: Project) -> Any:
    """Return members, and whoever has annotated here and has left."""
    return User.objects.filter(pk__in=present.annotator_ids(project))


def _order(sort: str) -> tuple[str, bool]:
    name = sort.removeprefix("-")
    column_names = {"name", "judgements", *(column for column, _, _ in present.COLUMNS)}
    return (name, sort.startswith("-")) if name in column_names else (FLAGS, False)


def _in_matrix(findings: Findings) -> list[str]:
    names = [scale.name for scale in findings.scales if scale.alpha.units]
    return [*names, present.MARKS] if findings.mark_pairs else names


def _scale(findings: Findings, text: str) -> str:
    names = _in_matrix(findings)
    return text if text in names else (names[0] if names else "")
