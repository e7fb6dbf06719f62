"""Find the texts of a Django template: what stands between tags, in attributes, and in the strings of filters.

Django's lexer takes the template apart; what is left is read as HTML. A variable becomes `{…}`; of a condition all
branches are read one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from django.template.base import Lexer, Token, TokenType

ATTRIBUTES = ("title", "aria-label", "placeholder", "alt")
INLINE = frozenset(
    name
    for line in ("a abbr b button code del em i ins kbd mark", "noscript small span strong sub sup time")
    for name in line.split()
)
SILENT = frozenset(("script", "style"))
GAP = "{…}"
_STRING = re.compile(r'"([^"]*)"|\'([^\']*)\'')


def template_texts(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, sort (`text` or `attribute`) and text of each text in a template."""
    html, strings = [], []
    is_comment = False
    for token in Lexer(source).tokenize():
        word = token.contents.split(" ", 1)[0] if token.token_type is TokenType.BLOCK else ""
        is_comment = word == "comment" or (is_comment and word != "endcomment")
        if is_comment or token.token_type is TokenType.COMMENT:
            html.append("\n" * token.contents.count("\n"))
        elif token.token_type is TokenType.TEXT:
            html.append(token.contents)
        else:
            html.append(GAP if token.token_type is TokenType.VAR else " ")
            strings += [(token.lineno, "text", text) for text in _strings_of(token)]
    reader = _Reader()
    reader.feed("".join(html))
    reader.close()
    reader.end_text()
    yield from sorted({*reader.texts, *strings})


def is_text(text: str) -> bool:
    """Return whether there is a word in it besides variables."""
    return bool(re.search(r"[^\W\d_]{2}", text.replace(GAP, "")))


def _strings_of(token: Token) -> Iterator[str]:
    """Yield the strings of a tag or a filter that hold a sentence or a choice of words, not a name."""
    if token.contents.startswith(("load ", "url ", "static ", "extends ", "if ", "elif ", "include ")) and (
        " with " not in token.contents
    ):
        return
    for match in _STRING.finditer(token.contents):
        text = match[1] or match[2] or ""
        is_choice = re.search(rf":{re.escape(match[0])}", token.contents) and "," in text
        if is_text(text) and (" " in text.strip() or is_choice) and not text.startswith(("?", "/", "c ", "j ", "Y-")):
            yield text


class _Reader(HTMLParser):
    """Collect runs of text; inline tags do not end a run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.texts: list[tuple[int, str, str]] = []
        self._run: list[str] = []
        self._line = 0
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in INLINE:
            self.end_text()
        self._silent += tag in SILENT
        for name, value in attrs:
            if name in ATTRIBUTES and value and is_text(value):
                self.texts.append((self.getpos()[0], "attribute", _squeezed(value)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in INLINE:
            self.end_text()
        self._silent -= tag in SILENT

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if not self._run and data.strip():
            self._line = self.getpos()[0] + data[: len(data) - len(data.lstrip())].count("\n")
        if self._run or data.strip():
            self._run.append(data)

    def end_text(self) -> None:
        text = _squeezed("".join(self._run))
        self._run = []
        if is_text(text):
            self.texts.append((self._line, "text", text))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
