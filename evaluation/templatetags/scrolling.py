"""Boxes of a limited height, which the keyboard must reach where they scroll."""

from __future__ import annotations

from django import template

register = template.Library()
_CHARACTERS, _LINES = 250, 6  # of a box of 14rem on a phone


@register.filter
def may_scroll(text: str | None) -> bool:
    """Return whether a text may be higher than its box."""
    text = text or ""
    return len(text) > _CHARACTERS or text.count("\n") >= _LINES
