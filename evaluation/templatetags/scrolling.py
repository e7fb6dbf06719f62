"""Boxes of a limited height, which the keyboard must reach where they scroll."""

from __future__ import annotations

from django import template

from common.texts import lines_on_a_phone

register = template.Library()
_LINES = 5  # of a box of 14rem on a phone, at least


@register.filter
def may_scroll(text: str | None) -> bool:
    """Return whether a text may be higher than its box."""
    return lines_on_a_phone(text or "") > _LINES
