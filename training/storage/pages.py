"""Show what is on the disk, and what may go."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from annotate.core.page_access import in_project
from annotate.models import Project, User
from common.whole_numbers import row_id
from training.storage import actions, disk_usage, pruning, quotas


@never_cache
@in_project(get="research")
def page(request: HttpRequest, project: Project) -> HttpResponse:
    stored = disk_usage.list_stored()
    prunable = pruning.prune(dry_run=True, at_once=True, project=project, stored=stored.runs)
    context = {
        "project": project,
        "storage": settings.STORAGE,
        "use": disk_usage.of_project(project, stored),
        "quotas": quotas.use_of(project, stored),
        "rule": pruning.RULE,
        "prunable": sum(one.size for one in prunable),
        "resumable": pruning.RESUMABLE,
    }
    return render(request, "training/storage/disk.html", context)


@in_project(post="research")
def prune(request: HttpRequest, project: Project) -> HttpResponse:
    """Prune by the rule and at once; with `run`, every checkpoint of that one run of this project."""
    by = cast(User, request.user)  # in_project lets nobody else through
    if number := request.POST.get("run", ""):
        run = get_object_or_404(project.runs, pk=row_id(number))
        freed = actions.prune(project=project, by=by, run=run)
    else:
        freed = actions.prune(project=project, by=by)
    messages.success(request, f"{disk_usage.size_in_words(freed)} freed." if freed else "There was nothing to delete.")
    return redirect("disk", project.slug)
