"""Find the texts of our JavaScript: strings with two words at least; comments are left out."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.support.interface.template_texts import GAP, is_text

_TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|`(?:[^`\\]|\\.)*`", re.DOTALL)
_NO_TEXT = re.compile(r"^[.#\[]|[.\[][\w-]+[\]=]|^\w+: \S+$|^use strict$|=>|\{\s*$")


def script_texts(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, sort (`script`) and text of each text in a JavaScript file."""
    for match in _TOKEN.finditer(source):
        if match[0].startswith("/"):
            continue
        text = re.sub(r"\$\{[^}]*\}", GAP, match[0][1:-1])
        text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", text)).strip()
        if " " in text and is_text(text) and not _NO_TEXT.search(text):
            yield source.count("\n", 0, match.start()) + 1, "script", text
