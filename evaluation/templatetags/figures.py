"""Number formats as filters of templates."""

from __future__ import annotations

from django import template

from evaluation.core import number_formats

register = template.Library()
for _format in (
    number_formats.thousands,
    number_formats.whole,
    number_formats.signed,
    number_formats.nats,
    number_formats.signed_nats,
    number_formats.roughly,
    number_formats.percent,
    number_formats.percent_fine,
    number_formats.p_value,
    number_formats.likeliest,
    number_formats.tenths,
):
    register.filter(_format)
