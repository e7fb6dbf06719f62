"""Show terms of the field with their definitions, from the glossary.

`{% term "kl" %}` writes a term, `{% term "kl" "KL distance" %}` in these words; `{% terms "kl" "beta" %}` writes a
line of them. At its first mention on a page a term is a button that opens its definition, also without scripts; later
on it is words alone. Not inside a link, a label or a summary: a button in there would take their presses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django import template
from django.template.context import Context
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from annotate.guides.glossary import GUIDE, Term, require_term

register = template.Library()


@register.simple_tag(takes_context=True)
def term(context: Context, key: str, words: str = "") -> SafeString:
    """Write a term; with its definition where the page has not shown that yet."""
    entry = require_term(key)
    words = words or entry.title
    return _with_definition(context, entry, words) if _is_first(context, key) else format_html("{}", words)


@register.simple_tag(takes_context=True)
def terms(context: Context, *keys: str | Sequence[str]) -> SafeString:
    """Write a line of terms, each with its definition; nothing where there are none."""
    written = [(term(context, key),) for key in _flat(keys)]
    line = format_html_join(", ", "{}", written)
    return format_html('<p class="note terms">Terms: {}</p>', line) if written else line


@register.simple_tag(takes_context=True)
def definition(context: Context, key: str) -> SafeString:
    """Write a term with its definition; nothing where the page has shown it already."""
    entry = require_term(key)
    return _with_definition(context, entry, entry.title) if _is_first(context, key) else SafeString()


def _flat(keys: Sequence[str | Sequence[str]]) -> Iterator[str]:
    for key in keys:
        yield from [key] if isinstance(key, str) else key


def _is_first(context: Context, key: str) -> bool:
    """Return whether the page has not shown this term yet; parts that are sent without a request always show theirs."""
    request = getattr(context, "request", None)
    if request is None:
        return True
    shown: set[str] = request.__dict__.setdefault("terms_shown", set())
    is_first = key not in shown
    shown.add(key)
    return is_first


def _with_definition(context: Context, entry: Term, words: str) -> SafeString:
    slug = getattr(context.get("project"), "slug", "")
    query = f"?project={slug}" if slug else ""
    return format_html(
        '<button type="button" class="term" popovertarget="term-{key}">{words}</button>'
        '<span class="term-note" id="term-{key}" popover>{definition} '
        '<a href="{address}#{key}">Glossary<span class="visually-hidden">: {title}</span></a></span>',
        key=entry.key,
        words=words,
        definition=entry.definition,
        address=reverse("guide", args=[GUIDE]) + query,
        title=entry.title,
    )
