"""Find the run of a page, and check whether the visitor may read it."""

from __future__ import annotations

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from annotate.core.permissions import can
from training.models import Run
from training.runs.present import run_details


def find_run(request: HttpRequest, run_id: int) -> tuple[Run, HttpResponse | None]:
    """Return the run, and a refusal for those who may not read its project."""
    run = get_object_or_404(Run.objects.select_related(*run_details.RELATED), pk=run_id)
    if can(request.user, "read", run.project):
        return run, None
    if not request.user.is_authenticated:
        return run, redirect_to_login(request.get_full_path())
    raise Http404("No such run.")
