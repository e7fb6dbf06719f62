"""Register a model, change how it is asked, and ask it one question."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from annotate.core.asgi import waiting
from annotate.core.errors import Refused
from annotate.core.page_access import MemberRequest, PageRequest, allows, in_project, refused_page
from annotate.core.permissions import require
from annotate.language_models import actions, changes, endpoint_check, model_form, model_keys, registration
from annotate.language_models.model_access import find_model, require_talk
from annotate.models import LanguageModel, Project, User


@sensitive_post_parameters("key")
@in_project(get="research", post="research")
def register(request: MemberRequest, project: Project) -> HttpResponse:
    """Register a model with weights below models/, an endpoint, or both. It is of this project until somebody shares
    it."""
    context = {"project": project, **model_form.context(None)}
    if request.method != "POST":
        return render(request, "annotate/language_models/new_model.html", context)
    fields = request.POST.dict()
    endpoint = fields.get("endpoint", "").strip()
    try:
        with model_keys.typed_key(request.session, fields.get("key", ""), endpoint) as key:
            model = _registered(request, project, fields, key)
    except Refused as refused:
        context |= model_form.context(None, fields, refused.errors)
        context["has_typed_key"] = bool(model_keys.typed_for(request.session, endpoint))
        return render(request, "annotate/language_models/new_model.html", context, status=refused.status)
    return redirect("model", model.pk)


def _registered(request: MemberRequest, project: Project, fields: dict[str, str], key: str) -> LanguageModel:
    folder, endpoint = fields.get("folder", "").strip(), fields.get("endpoint", "").strip()
    if folder and not registration.is_below_models(folder):
        raise Refused(400, folder="Enter a folder below models/ in ASSAY_DATA, such as models/base.")
    settings = model_form.settings_of(fields)
    if endpoint:
        registration.require_reachable(endpoint)
    model = actions.register_model(
        name=fields.get("name", ""),
        folder=folder,
        endpoint=endpoint,
        served_name=fields.get("served_name", "").strip(),
        key=key,
        settings=settings,
        by=request.user,
        project=project,
    )
    if fields.get("enter"):
        actions.enter_arena(project=project, model=model, by=request.user)
    return model


@never_cache
@sensitive_post_parameters("key")
@allows(get="research or staff", post="research or staff")
def model_settings(request: PageRequest, pk: int) -> HttpResponse:
    """Show and change where and how the model is asked, for researchers of its project and staff."""
    model, project = find_model(request, pk)
    try:
        changes.require_change(model, request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    context = {"project": project, "model": model, **model_form.context(model)}
    if request.method != "POST":
        return render(request, "annotate/language_models/model_settings.html", context)
    fields = request.POST.dict()
    try:
        key = "" if fields.get("forget_key") else fields.get("key", "").strip() or None
        model_change = changes.ModelChange(
            endpoint=fields.get("endpoint", ""),
            served_name=fields.get("served_name", "").strip(),
            settings=model_form.settings_of(fields),
            key=key,
        )
        changed = changes.change(model=model, change=model_change, by=cast(User, request.user))
    except Refused as refused:
        context |= model_form.context(model, fields, refused.errors)
        return render(request, "annotate/language_models/model_settings.html", context, status=refused.status)
    if model.sealed_key and not changed.sealed_key:
        messages.info(
            request, "The key was deleted, because a key is for one address. Enter a key for the new address."
        )
    return redirect("model", pk)


@never_cache
@allows(post="research")
def ask(request: PageRequest, pk: int) -> HttpResponse:
    """Ask the model one question, and show what is wrong where there is no answer. A part of the model's page, or a
    page."""
    model, project = find_model(request, pk)
    try:
        require(request.user, "research", project)
        require_talk(request.user, model, project)
        with waiting.aside_in_thread(f"user:{request.user.pk}"):
            checked = endpoint_check.ask_one_question(model, project, request.POST.get("question", ""))
    except Refused as refused:
        return refused_page(request, refused, project=project)
    context = {"model": model, "project": project, "checked": checked}
    context |= {"may_change": changes.may_change(model, request.user)}
    part = "#checked" if request.htmx else ""
    return render(request, f"annotate/language_models/model_asked.html{part}", context)
