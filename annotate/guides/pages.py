"""Show the guides of docs/guides to everybody, beside the bar of the project that they were opened from."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from annotate.core.page_access import allows
from annotate.core.permissions import can
from annotate.guides.guide_files import INDEX, guide_names, guide_text
from annotate.models import Project


@allows(get="anybody")
def guides(request: HttpRequest) -> HttpResponse:
    """Show which guides there are, by who reads them."""
    return _shown(request, INDEX)


@allows(get="anybody")
def guide(request: HttpRequest, name: str) -> HttpResponse:
    if name not in guide_names():
        raise Http404(f"There is no guide with the name {name}.")
    return _shown(request, name)


def _shown(request: HttpRequest, name: str) -> HttpResponse:
    project = Project.objects.filter(slug=request.GET.get("project", "").replace("\x00", "")).first()
    if project is not None and not can(request.user, "read", project):
        project = None
    text = guide_text(name, f"?project={project.slug}" if project else "")
    title = text.partition("\n")[0].lstrip("# ")
    context = {"project": project, "text": text, "title": title, "is_index": name == INDEX}
    return render(request, "annotate/guides/guide.html", context)
