"""The registry: a project's models, and one model with what it came from and what came of it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from annotate import model_server
from annotate.actions import language_models as actions
from annotate.errors import Refused
from annotate.live_battles import SAMPLING
from annotate.models import Contestant, LanguageModel, Project, User
from annotate.permissions import can, models_seen, projects_where
from annotate.views.access import in_project, refused_page


@require_GET
@in_project()
def models(request: HttpRequest, project: Project) -> HttpResponse:
    """Policies and reward models of this project; for researchers also the others that could enter."""
    mine = LanguageModel.objects.of_projects([project]).select_related("parent", "made_by")
    can_research = can(request.user, "research", project)
    policies = mine.filter(kind=LanguageModel.Kind.POLICY)
    readable = _readable_ids(request)
    entered = set(project.contestants.filter(left_at=None).values_list("model", flat=True))
    context = {
        "project": project,
        "section": "models",
        "policies": [(m, _maker(m, readable), _millions(m.parameters), m.pk in entered) for m in policies],
        "reward_models": [(m, _maker(m, readable)) for m in mine.filter(kind=LanguageModel.Kind.REWARD)],
        "others": LanguageModel.objects.available().policies().exclude(pk__in=mine) if can_research else [],
        "can_research": can_research,
    }
    return render(request, "annotate/models.html", context)


@require_GET
def model(request: HttpRequest, pk: int) -> HttpResponse:
    """One model: facts, lineage both ways, evaluations, and for researchers a playground."""
    model, project = _readable(request, pk)
    return render(request, "annotate/model.html", _context(request, model, project))


@require_POST
def ask(request: HttpRequest, pk: int) -> HttpResponse:
    """The playground: one question to this model by name. Nothing of it is kept."""
    model, project = _readable(request, pk)
    if not can(request.user, "research", project):
        return refused_page(request, Refused(403, project="This needs the role of researcher or manager."))
    text = request.POST.get("text", "").strip()
    context = _context(request, model, project) | {"text": text}
    try:
        context["reply"] = _ask(model, text)
        status = 200
    except Refused as refused:
        context["errors"], status = refused.errors, refused.status
    except model_server.ModelServerError as error:
        context["server_error"], status = error, 502
    if request.headers.get("HX-Request"):  # htmx shows only what succeeded; the words say what did not
        return render(request, "annotate/model.html#reply", context)
    return render(request, "annotate/model.html", context, status=status)


@require_POST
def retire(request: HttpRequest, pk: int) -> HttpResponse:
    """With a reason; a model is never deleted."""
    model, project = _readable(request, pk)
    if not isinstance(request.user, User):
        return redirect_to_login(reverse("model", args=[pk]))
    try:
        actions.retire(model=model, reason=request.POST.get("reason", ""), by=request.user)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect("model", pk)


@require_POST
@in_project("research")
def arena_entry(request: HttpRequest, project: Project, pk: int) -> HttpResponse:
    """Enter the model into the project's arena, or take it out; its battles stay."""
    model = get_object_or_404(LanguageModel, pk=pk)
    try:
        if request.POST.get("do") == "leave":
            actions.leave_arena(project=project, model=model)
        else:
            actions.enter_arena(project=project, model=model)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return redirect("models", project.slug)


def _maker(model: LanguageModel, readable: set[int]) -> Any:
    """The run that made it, where its project is among the readable ones: a model may compete elsewhere too."""
    run = getattr(model, "made_by", None)
    return run if run is not None and run.project_id in readable else None


def _readable_ids(request: HttpRequest) -> set[int]:
    return set(projects_where(request.user, "read").values_list("pk", flat=True))


def _millions(parameters: int | None) -> str:
    """135 M, 1.7 B: as people say it."""
    if not parameters:
        return ""
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.3g} M"


def _readable(request: HttpRequest, pk: int) -> tuple[LanguageModel, Project]:
    """The model, and a project of it that this person may read. Of other models nothing is told."""
    related = ("parent", "made_by__dataset", "made_by__reward_model", "made_by__project", "created_by")
    model = LanguageModel.objects.select_related(*related).filter(pk=pk).first()
    if model is not None:
        for project in Project.objects.order_by("-is_public", "pk"):
            if (
                can(request.user, "read", project)
                and LanguageModel.objects.of_projects([project]).filter(pk=pk).exists()
            ):
                return model, project
    raise Http404("There is no such model in a project that you may read.")


def _context(request: HttpRequest, model: LanguageModel, project: Project) -> dict[str, object]:
    can_research = can(request.user, "research", project)
    readable = _readable_ids(request)
    evaluations = model.evaluations.filter(Q(project=None) | Q(project=project))
    return {
        "project": project,
        "section": "models",
        "model": model,
        "ancestors": _ancestors(model),
        "children": [
            (child, _maker(child, readable))
            for child in models_seen(request.user).filter(parent=model).select_related("made_by")
        ],
        "made_by": _maker(model, readable),
        "evaluations": evaluations.order_by("metric", "-pk"),
        "competes": Contestant.objects.filter(project=project, model=model, left_at=None).exists(),
        "can_research": can_research,
        "can_retire": model.retired_at is None and actions.may_retire(model, request.user),
        "can_ask": can_research and model.kind == LanguageModel.Kind.POLICY,
        "sampling": SAMPLING,
        "parameters": f"{model.parameters:,}" if model.parameters else "",
        "where": (model.endpoint or model.folder) if can_research else "",
    }


def _ancestors(model: LanguageModel) -> list[LanguageModel]:
    """From the first to the parent."""
    line: list[LanguageModel] = []
    ancestor = model.parent
    while ancestor is not None and ancestor not in line:
        line.append(ancestor)
        ancestor = ancestor.parent
    return line[::-1]


def _ask(model: LanguageModel, text: str) -> model_server.Reply:
    if not text:
        raise Refused(400, text="Ask something: the question is empty.")
    if len(text) > settings.MAX_PROMPT_CHARACTERS:
        raise Refused(413, text=f"At most {settings.MAX_PROMPT_CHARACTERS:,} characters; this has {len(text):,}.")
    return model_server.complete_chat(model, [{"role": "user", "content": text}], **SAMPLING)
