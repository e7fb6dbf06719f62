"""Offer a project's feedback as a file, for those who may review it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import render

from annotate.core.asgi.downloads import download
from annotate.core.errors import Refused
from annotate.core.page_access import in_project, refused_page
from annotate.data.exports.actions import FILES, export_feedback
from annotate.data.exports.export_options import requested_options
from annotate.data.formats import FORMATS
from annotate.models import AnnotatorKind, Comparison, Project, Status, User

_FILES = {
    "jsonl": "JSON lines",
    "json": "a JSON list",
    "csv": "CSV",
    "parquet": "Parquet",
    "jsonl.gz": "JSON lines, packed",
    "json.gz": "a JSON list, gzipped",
    "csv.gz": "CSV, packed",
}


@in_project(get="review")
def export(request: HttpRequest, project: Project) -> HttpResponseBase:
    """Show the form; with a format, return the file that it asks for."""
    if "format" not in request.GET:
        context = {"project": project, "exports": export_choices(project)}
        return render(request, "annotate/data/export.html", context)
    assert isinstance(request.user, User)
    try:
        file = export_feedback(project=project, by=request.user, **requested_options(request.GET))
    except Refused as refused:
        return refused_page(request, refused, project=project)
    return download(request, file.parts, name=file.name, content_type=file.content_type)


def export_choices(project: Project) -> dict[str, Any]:
    """Return the choices of the form. Simulations are the default where no person has annotated."""
    simulated = not Comparison.objects.filter(project=project, judge=AnnotatorKind.PERSON).exists()
    simulated = simulated and Comparison.objects.filter(project=project, judge=AnnotatorKind.SIMULATION).exists()
    return {
        "formats": [(name, format_.title, format_.container) for name, format_ in FORMATS.items()],
        "files": [(name, _FILES.get(name, name)) for name in FILES],
        "judge": AnnotatorKind.SIMULATION if simulated else AnnotatorKind.PERSON,
        "statuses": Status.values,
    }
