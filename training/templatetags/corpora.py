"""Sizes of texts, for templates: finer than a disk's."""

from __future__ import annotations

from django import template

register = template.Library()


@register.filter
def text_size(size: float) -> str:
    """Format bytes: 3.3 MB, 487 kB, 12.4 GB."""
    if size < 1e3:
        return f"{size:.0f} bytes"
    if size < 999_500:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.1f} MB" if size < 999_950_000 else f"{size / 1e9:,.1f} GB"
