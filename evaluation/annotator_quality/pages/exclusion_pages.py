"""Exclude a person, withdraw one's own annotations, and undo either: first what it touches, then the act."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, in_project, refused_page
from annotate.core.permissions import can
from annotate.labelling.bulk_status import ImportedAnnotator, Who
from annotate.models import Project, User
from evaluation.annotator_quality import exclusion, exclusion_effects
from evaluation.annotator_quality.pages.quality_pages import imported_annotator
from evaluation.annotator_quality.present import annotator_ids
from evaluation.models import Exclusion


@never_cache
@in_project(get="manage", post="manage")
def exclude(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    person = get_object_or_404(User, pk=pk, pk__in=annotator_ids(project))
    return _page(request, project, person)


@never_cache
@in_project(get="judge", post="judge")
def withdraw(request: MemberRequest, project: Project) -> HttpResponse:
    return _page(request, project, request.user)


@never_cache
@in_project(get="manage", post="manage")
def exclude_imported(request: MemberRequest, project: Project) -> HttpResponse:
    """Exclude an annotator whom only the file of an import names."""
    return _page(request, project, imported_annotator(request, project))


def _page(request: MemberRequest, project: Project, person: Who) -> HttpResponse:
    errors: dict[str, str] = {}
    is_imported = isinstance(person, ImportedAnnotator)
    is_own = person == request.user
    if request.method == "POST":
        reason, pauses = request.POST.get("reason", ""), "pauses" in request.POST
        try:
            act = exclusion.exclude(project=project, person=person, reason=reason, by=request.user, pauses=pauses)
        except Refused as refused:
            errors = refused.errors
        else:
            messages.success(request, _done(act))
            return redirect("quality-mine", project.slug) if is_own else redirect("quality-exclusions", project.slug)
    context = {
        "project": project,
        "person": person,
        "is_imported": is_imported,
        "is_own": is_own,
        "touched": exclusion_effects.touched_by(project, person),
        "standing": exclusion.standing_act(project, person),
        "reason": request.POST.get("reason", ""),
        "pauses": request.method != "POST" or "pauses" in request.POST,
        "errors": errors,
    }
    return render(request, "evaluation/annotator_quality/quality_exclude.html", context, status=400 if errors else 200)


def _done(act: Exclusion) -> str:
    n = sum(act.touched["changing"].values())
    clause = "1 annotation" if n == 1 else f"{n:,} annotations"
    return f"{clause} of {act.name} now {act.status}. You can undo this."


@never_cache
@in_project(get="manage")
def acts(request: MemberRequest, project: Project) -> HttpResponse:
    context = {"project": project, "acts": exclusion.acts(project)}
    return render(request, "evaluation/annotator_quality/quality_exclusions.html", context)


@in_project(post="manage or judge, mine")
def undo(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    own_acts = (
        exclusion.acts(project)
        if can(request.user, "manage", project)
        else exclusion.acts(project).filter(person=request.user)
    )
    act = get_object_or_404(own_acts, pk=pk)
    try:
        act = exclusion.undo(act=act, reason=request.POST.get("reason", ""), by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    n = sum(act.brought_back.values())
    messages.success(request, f"{n:,} annotation{'' if n == 1 else 's'} of {act.name} have their earlier status again.")
    return _back(request, project, act)


def _back(request: HttpRequest, project: Project, act: Exclusion) -> HttpResponse:
    is_own = act.person_id == request.user.pk
    return redirect("quality-mine", project.slug) if is_own else redirect("quality-exclusions", project.slug)
