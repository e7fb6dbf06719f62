"""Show the buttons of figures that are being computed, to whoever may press them."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import RequestContext

from annotate.core.permissions import can
from evaluation.models import KeptFigures

register = template.Library()


@register.inclusion_tag("evaluation/core/kept_buttons.html", takes_context=True)
def kept_buttons(context: RequestContext, kept: KeptFigures) -> dict[str, Any]:
    request = context["request"]
    is_shown = kept.asked_at is not None and can(request.user, "research", kept.project)
    return {"kept": kept, "is_shown": is_shown, "request": request, "csrf_token": context.get("csrf_token")}
