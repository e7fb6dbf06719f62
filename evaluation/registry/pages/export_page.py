"""The files of an export, to be downloaded."""

from __future__ import annotations

from typing import cast

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase

from annotate.core.asgi import downloads as streaming
from annotate.core.errors import Refused
from annotate.core.page_access import allows, refused_page
from annotate.core.permissions import require
from annotate.models import User
from evaluation.registry.export_files import exported_file, note_download
from training.runs.access import find_run


@allows(get="research")
def download(request: HttpRequest, run_id: int, name: str) -> HttpResponseBase:
    """Send one file that the run's result names, and nothing else of its folder. Researchers only: these are
    weights."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    try:
        require(request.user, "research", run.project)
    except Refused as refused:
        return refused_page(request, refused, project=run.project)
    try:
        path = exported_file(run, name)
    except Refused as refused:
        if refused.status == 404:
            raise Http404(" ".join(refused.errors.values())) from refused
        return refused_page(request, refused, project=run.project)
    note_download(run, name, cast(User, request.user))
    return streaming.file(request, path, name=name)
