"""Tell templates what a role may do, and what is open here: pages link to nothing that their reader may not do."""

from __future__ import annotations

from django import template
from django.contrib.auth.models import AnonymousUser
from django.template.context import Context

from annotate.core.permissions import can
from annotate.models import Project, User

register = template.Library()


@register.simple_tag(takes_context=True)
def may(context: Context, action: str, project: Project) -> bool:
    """Say whether the reader may do something: `{% may "judge" project as may_judge %}`."""
    return can(context.get("user") or AnonymousUser(), action, project)


@register.simple_tag
def has_public_arena() -> bool:
    """Say whether visitors without an account can vote in a project's arena."""
    return Project.objects.filter(is_public=True).exists()


@register.simple_tag
def has_accounts() -> bool:
    return User.objects.exists()
