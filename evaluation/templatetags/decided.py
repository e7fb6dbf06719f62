"""Show a decision: its word, and the checks as they stood."""

from __future__ import annotations

from django import template

from evaluation.models import Decision
from evaluation.promotion.checks import Check, from_json

register = template.Library()
_WORDS = {
    "enrolled": "entered",
    "ready": "meets the rule",
    "open": "undecided again",
    "refused": "does not pass",
    "promoted": "promoted",
    "rolled_back": "rolled back",
    "rule_changed": "rule",
    "withdrawn": "withdrawn",
}


@register.filter
def what(decision: Decision) -> str:
    return _WORDS[decision.what]


@register.filter
def checks_then(decision: Decision) -> list[Check]:
    return from_json(decision.evidence.get("checks", []))


@register.filter
def figure(value: float) -> str:
    """Format by two figures, all that a price can mean: 0.0523 -> 0.052, 1234.5 -> 1,200"""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


@register.filter
def plain(value: float | str) -> str:
    """Format 7.0 as 7; what somebody typed stays as it is."""
    return f"{value:g}" if isinstance(value, int | float) else value
