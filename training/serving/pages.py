"""Show the adapters on a base at its server, and change how many it keeps."""

from __future__ import annotations

from typing import Any, cast

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.errors import Refused
from annotate.core.page_access import PageRequest, allows, refused_page
from annotate.core.permissions import require
from annotate.language_models.changes import may_change
from annotate.language_models.model_access import find_model
from annotate.models import LanguageModel, Project, User
from common.whole_numbers import whole_number
from training.serving import actions, present
from training.serving.served_names import settings_of


@never_cache
@allows(get="research", post="research")
def adapters(request: PageRequest, pk: int) -> HttpResponse:
    """Show the adapters of a base with their state; POST changes the limit, for who may change the model."""
    model, project = find_model(request, pk)
    try:
        require(request.user, "research", project)
    except Refused as refused:
        return refused_page(request, refused, project=project)
    if request.method != "POST":
        return render(request, "training/serving/adapters.html", _context(request, model, project))
    limit = request.POST.get("limit", "").strip()
    data_folder = request.POST.get("data_folder", "")
    try:
        number = whole_number(limit, 0, digits=8)
        actions.change_server(base=model, by=cast(User, request.user), limit=number, data_folder=data_folder)
    except Refused as refused:
        sent = {"limit": limit, "data_folder": data_folder, "errors": refused.errors}
        context = _context(request, model, project) | {"sent": sent}
        return render(request, "training/serving/adapters.html", context, status=refused.status)
    messages.success(request, "Saved. It applies from the next adapter on.")
    return redirect("adapters", pk)


def _context(request: PageRequest, model: LanguageModel, project: Project) -> dict[str, Any]:
    server = settings_of(model)
    return {
        "project": project,
        "model": model,
        "children": present.of_base(model, request.user),
        "sent": {"limit": server.limit, "data_folder": server.data_folder, "errors": {}},
        "server": server,
        "can_change": may_change(model, request.user),
        "commands": present.commands_for_children(model),
        "is_own": not model.endpoint,
    }
