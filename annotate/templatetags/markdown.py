"""Markdown that somebody else wrote, as HTML that can do no harm.

`{{ text|markdown }}` for pages of a project; `{{ text|answer }}` for what a model wrote, also while it is still being
written; `{{ text|as_written }}` for the same text, character by character; `{{ text|guide }}` for our own
guides; `{{ text|code_words }}` for a plain text of ours or of a library that names code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import nh3
from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from annotate.core.markdown_math import with_formulas
from annotate.guides.guide_files import heading_name
from common.code_highlighting import CLASSES, highlight
from common.mathml import mathml

register = template.Library()
# Laying out costs a tenth of a second for so much ordinary text and about one for text made to be slow (measured in
# tests). What is longer stands as it was written.
LARGEST_LAID_OUT = 100_000
# Text, lists, tables and links; no images, which would tell their host who is judging and when.
_TAGS = {"p", "br", "hr", "em", "strong", "s", "code", "pre", "span", "blockquote", "ul", "ol", "li", "a", "div"} | {
    "h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "pre": {"tabindex"}, "div": {"tabindex"}}
_CLASSES = {"p": {"heading", *(f"h{n}" for n in range(1, 7))}, "div": {"wide"}, "span": {*CLASSES, "formula"}}
# Whatever links leave the page open in a tab of their own, which is told nothing of where the reader came from.
_LINK_REL, _LINK_TARGET = "noopener noreferrer nofollow", {"a": {"target": "_blank"}}

_parser = MarkdownIt("commonmark", {"html": False}).enable("table")
_guides = MarkdownIt("commonmark", {"html": False}).enable("table")
_answers = with_formulas(MarkdownIt("commonmark", {"html": False, "breaks": True}).enable(["table", "strikethrough"]))
_CODE = re.compile(r"`([^`\n]+)`")
# Put in by us alone: no text can bring markup of its own.
_PLACE = re.compile(r'<span class="formula">(\d+)</span>')
MOST_FORMULAS = 100  # tried in one answer; what comes after stays as it was written


@register.filter
def code_words(text: object) -> SafeString:
    """Return a plain text whose words between backticks are code."""
    return mark_safe(_CODE.sub(r"<code>\1</code>", escape(text)))


@register.filter
def markdown(text: str) -> SafeString:
    return _clean(_parser.render(text))


@register.filter
def answer(text: str) -> SafeString:
    """Return a model's answer. Its headings are no headings of the page; a picture is a link to it; line breaks
    stay."""
    if len(text) > LARGEST_LAID_OUT:
        return mark_safe(f'<div class="as-written">{as_written(text)}</div>')
    env: dict[str, list[str]] = {"formulas": []}  # "" for what could not be read
    html = _clean(_answers.render(text, env))
    # MathML goes in behind the cleaning, which knows no namespaces; `mathml` writes nothing that was not checked.
    return mark_safe(_PLACE.sub(lambda place: env["formulas"][int(place[1])], html))


@register.filter
def guide(text: str) -> SafeString:
    """Return one of our own guides: its headings can be linked to, and its links stay in this window."""
    attributes = _ATTRIBUTES | {f"h{n}": {"id"} for n in range(1, 7)}
    html = nh3.clean(_guides.render(text), tags=_TAGS, attributes=attributes, allowed_classes=_CLASSES)
    return mark_safe(html)


@register.filter
def as_written(text: str) -> SafeString:
    """Return every character, so that a place in the page's text is a place in the text that is stored.

    A browser would read a carriage return as a line feed: two of them in a row would become one character.
    """
    return mark_safe(escape(text).replace("\r", "&#13;"))


def _clean(html: str) -> SafeString:
    return mark_safe(
        nh3.clean(
            html,
            tags=_TAGS,
            attributes=_ATTRIBUTES,
            allowed_classes=_CLASSES,
            url_schemes={"http", "https", "mailto"},
            link_rel=_LINK_REL,
            set_tag_attribute_values=_LINK_TARGET,
        )
    )


def _heading_open(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return f'<p class="heading {tokens[i].tag}">'


def _heading_close(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return "</p>\n"


def _formula(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    """Return the place of a formula; as it was written where it cannot be read."""
    formulas, token = env["formulas"], tokens[i]
    if len(formulas) >= MOST_FORMULAS:
        return escape(token.content)
    formulas.append(mathml(token.meta["source"], is_block=token.meta["is_block"]))
    return f'<span class="formula">{len(formulas) - 1}</span>' if formulas[-1] else escape(token.content)


def _image(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    source = escape(str(tokens[i].attrs.get("src", "")))
    words = escape(self.renderInlineAsText(tokens[i].children, options, env) or "without a name")
    return f'<a href="{source}">Picture: {words}</a>'


def _code(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    # It scrolls by itself, so the keyboard must be able to reach it.
    token = tokens[i]
    language = token.info.split(maxsplit=1)[0] if token.info.strip() and _is_closed(token) else ""
    return f'<pre tabindex="0"><code>{highlight(token.content, language)}</code></pre>\n'


def _is_closed(token: Token) -> bool:
    """Return whether a fence has its end: what is still being written would be marked up anew with each frame."""
    begin, end = token.map or (0, 0)
    return end - begin == token.content.count("\n") + 2


def _table_open(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return '<div class="wide" tabindex="0"><table>\n'


def _table_close(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return "</table></div>\n"


_RULES = {
    "heading_open": _heading_open,
    "heading_close": _heading_close,
    "image": _image,
    "formula": _formula,
    "fence": _code,
    "code_block": _code,
    "table_open": _table_open,
    "table_close": _table_close,
}


def _named_heading_open(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return f'<{tokens[i].tag} id="{escape(heading_name(tokens[i + 1].content))}">'


def _head_open(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return "<th>" if tokens[i + 1].content else "<td>"  # a head without words is no head


def _head_close(self: RendererHTML, tokens: Sequence[Token], i: int, options: OptionsDict, env: EnvType) -> str:
    return "</th>" if tokens[i - 1].content else "</td>"


_guides.add_render_rule("heading_open", _named_heading_open)
_guides.add_render_rule("th_open", _head_open)
_guides.add_render_rule("th_close", _head_close)
for _name in ("fence", "code_block", "table_open", "table_close"):
    for _parser_of_pages in (_parser, _guides):
        _parser_of_pages.add_render_rule(_name, _RULES[_name])
for _name, _render in _RULES.items():
    _answers.add_render_rule(_name, _render)
