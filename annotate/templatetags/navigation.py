"""Give templates the map of the site, as the reader of this page is shown it."""

from __future__ import annotations

from django import template
from django.contrib.auth.models import AnonymousUser
from django.template.context import Context

from annotate.core.site_map.present import Navigation
from annotate.core.site_map.present import navigation as of_page
from annotate.models import Project

register = template.Library()


@register.simple_tag(takes_context=True)
def navigation(context: Context) -> Navigation | None:
    """Return what the page shows of the map: `{% navigation as map %}`. None on a page of no project."""
    request, project = context.get("request"), context.get("project")
    if request is None or not isinstance(project, Project):
        return None
    match = request.resolver_match
    user = context.get("user") or AnonymousUser()
    return of_page(project, user, request.path, match.url_name or "" if match else "")
