"""Enter a registered model into an arena or take it out, retire it and bring it back, have it loaded.

Its page, and the registry, are in evaluation/registry/pages/model_pages.py: they show what is measured and who trained
it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, PageRequest, allows, in_project, refused_page
from annotate.core.permissions import require
from annotate.language_models import actions, serving
from annotate.language_models.model_access import find_model
from annotate.models import LanguageModel, Project, User


@allows(post="manage or staff")
def retire(request: HttpRequest, pk: int) -> HttpResponse:
    """Retire a model with a reason; a model is never deleted."""
    reason = request.POST.get("reason", "")
    return _act(request, pk, lambda model, by: actions.retire(model=model, reason=reason, by=by))


@allows(post="manage or staff")
def bring_back(request: HttpRequest, pk: int) -> HttpResponse:
    return _act(request, pk, lambda model, by: actions.bring_back(model=model, by=by))


def _act(request: HttpRequest, pk: int, action: Callable[[LanguageModel, User], object]) -> HttpResponse:
    model, project = find_model(request, pk)
    if not isinstance(request.user, User):
        return redirect_to_login(reverse("model", args=[pk]))
    try:
        action(model, request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect("model", pk)


@allows(post="manage or staff")
def share(request: HttpRequest, pk: int) -> HttpResponse:
    """Let every project use it, or with `do` = stop, no longer."""
    shared = request.POST.get("do") != "stop"
    return _act(request, pk, lambda model, by: actions.share(model=model, by=by, shared=shared))


@never_cache
@allows(get="research", post="research")
def model_serving(request: PageRequest, pk: int) -> HttpResponse:
    """Show how the model server stands to it; POST has it load the model. A part of the model's page, or a page."""
    model, project = find_model(request, pk)
    try:
        require(request.user, "research", project)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    if request.method == "POST":
        serving.load(model)
        if not request.htmx:
            return redirect("model-serving", pk)
    context = {"model": model, "project": project, "serving": serving.serving(model)}
    part = "#serving" if request.htmx else ""
    return render(request, f"annotate/language_models/model_serving.html{part}", context)


@in_project(post="research")
def arena_entry(request: MemberRequest, project: Project, pk: int) -> HttpResponse:
    """Enter the model into the project's arena, or take it out; its battles stay."""
    model = get_object_or_404(LanguageModel, pk=pk)
    try:
        if request.POST.get("do") == "leave":
            actions.leave_arena(project=project, model=model, by=request.user)
        else:
            actions.enter_arena(project=project, model=model, by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect("models", project.slug)
