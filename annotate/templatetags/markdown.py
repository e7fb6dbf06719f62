"""`{{ text|markdown }}`: Markdown that somebody else wrote, as HTML that can do no harm."""

from __future__ import annotations

import nh3
from django import template
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

register = template.Library()
_parser = MarkdownIt("commonmark", {"html": False}).enable("table")
# Text, lists, tables and links; no images, which would tell their host who is judging and when.
_TAGS = {"p", "br", "hr", "em", "strong", "code", "pre", "blockquote", "ul", "ol", "li", "a"} | {
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"
}  # fmt: skip


@register.filter
def markdown(text: str) -> SafeString:
    html = _parser.render(text)
    clean = nh3.clean(html, tags=_TAGS, attributes={"a": {"href", "title"}}, url_schemes={"http", "https", "mailto"})
    return mark_safe(clean)
