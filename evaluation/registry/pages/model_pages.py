"""Show models: the registry, one model with its card and its lineage, and its files for other programs."""

from __future__ import annotations

import uuid
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.text import slugify

from annotate.core.artefacts import local_copies
from annotate.core.page_access import allows, in_project
from annotate.core.permissions import can, projects_where
from annotate.language_models.actions import may_retire, may_share
from annotate.language_models.changes import may_change
from annotate.language_models.model_access import find_model, may_talk
from annotate.language_models.serving import address_of
from annotate.models import Contestant, LanguageModel, Project
from evaluation.core.served_model import promoted
from evaluation.measures import over_optimisation_panel
from evaluation.registry import lineage_graph, model_card
from evaluation.registry.model_list import Choice, in_millions, maker_of, registry
from evaluation.registry.tracing import descent, offspring, readable_projects
from training.core.kinds import KINDS
from training.serving import adapter_bases
from training.serving import present as serving_present
from training.storage import disk_usage


@in_project(get="read")
def models(request: HttpRequest, project: Project) -> HttpResponse:
    """List every model of this project, newest first; for researchers also those of the others."""
    can_research = can(request.user, "research", project)
    choice = Choice.of(request.GET.dict(), may_see_all=can_research)
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "project": project,
        "can_research": can_research,
        "choice": choice,
        "query": query.urlencode(),
        "registry": registry(project, request.user, choice, request.GET.get("page", "")),
    }
    return render(request, "evaluation/registry/models.html", context)


@allows(get="read")
def model(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one model: its card, where it came from and what came of it, and for researchers how to use it."""
    model, project = find_model(request, pk)
    return render(request, "evaluation/registry/model.html", _context(request, model, project))


@allows(get="read")
def card(request: HttpRequest, pk: int) -> HttpResponse:
    """Send README.md of the model, as it would be on a hub."""
    model, _ = find_model(request, pk)
    text = model_card.markdown(model, readable=projects_where(request.user, "read"))
    headers = {"Content-Disposition": f'attachment; filename="{slugify(model.name) or "model"}-README.md"'}
    return HttpResponse(text, content_type="text/markdown; charset=utf-8", headers=headers)


def _context(request: HttpRequest, model: LanguageModel, project: Project) -> dict[str, Any]:
    can_research = can(request.user, "research", project)
    readable = projects_where(request.user, "read")
    can_use = can_research and model.retired_at is None and bool(model.folder)
    return {
        "project": project,
        "model": model,
        "card": model_card.body(model, readable=readable, has_lineage=False),
        "graph": lineage_graph.of_model(model, request.user),
        "made_by": maker_of(model, set(readable.values_list("pk", flat=True))),
        "competes": Contestant.objects.filter(project=project, model=model, left_at=None).exists(),
        "promotion": promoted(project),
        "can_research": can_research,
        "can_retire": may_retire(model, request.user),
        "can_share": may_share(model, request.user),
        "can_talk": may_talk(request.user, model, project),
        "can_export": can_use,
        "can_sample": can_research and model.retired_at is None and model.kind == LanguageModel.Kind.POLICY,
        "can_change": can_research and may_change(model, request.user),
        "can_measure": can_use and model.kind in KINDS["evaluate"].parent_kinds,
        "exports": model.runs.filter(kind="export", project__in=readable)[:5] if can_research else [],
        "can_label": can_use and model.kind == LanguageModel.Kind.CLASSIFIER,
        "form_key": uuid.uuid4().hex,  # pressing the button twice starts one run
        "parameters": in_millions(model.parameters),
        "size": (disk_usage.size_of(model.path) or local_copies.stored_size(model.path)) if model.path else 0,
        "adapter": adapter_bases.described(model),
        "address": address_of(model),
        "has_place": bool(model.folder or model.endpoint),
        "is_policy": model.kind == LanguageModel.Kind.POLICY,
        "hot": serving_present.of_model(model) if can_research else None,
        "has_adapters": model.served_children.exists(),
        "serving_commands": serving_present.commands_alone(model),
        "parting": over_optimisation_panel.of_model(model, readable),
        "has_cost": _has_cost(model, project),
    }


def _has_cost(model: LanguageModel, project: Project) -> bool:
    """Return whether the page of costs has a row for the model: it answers, and a run of this project has made it."""
    run = getattr(model, "made_by", None)
    return model.kind == LanguageModel.Kind.POLICY and run is not None and run.project_id == project.pk


@allows(get="read")
def lineage(request: HttpRequest, pk: int) -> HttpResponse:
    model = get_object_or_404(LanguageModel, pk=pk)
    projects = readable_projects(request.user, model)
    if not projects:
        raise Http404("No such model.")
    slug = request.GET.get("project", "")
    project = next((p for p in projects if p.slug == slug), projects[0])
    context = {
        "project": project,
        "model": model,
        "graph": lineage_graph.of_model(model, request.user),
        "steps": descent(model, project, request.user),
        "offspring": offspring(model, projects, request.user),
    }
    return render(request, "evaluation/registry/lineage.html", context)
