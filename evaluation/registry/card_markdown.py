"""The parts of a model card as Markdown: sections, tables, and text that is no markup."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def section(title: str, lines: Iterable[str]) -> str:
    text = "\n".join(lines).strip("\n")
    return f"## {title}\n\n{text}" if text else ""


def table(heads: Sequence[str], rows: Any) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(_cell(str(cell)) for cell in row)} |"


def _cell(text: str) -> str:
    """Escape a cell: code stays code; everything else is said plainly."""
    is_code = len(text) > 2 and text[0] == text[-1] == "`" and text.count("`") == 2
    return text.replace("|", "\\|") if is_code else plain(text)


def as_code(text: str) -> str:
    return f"`{text}`" if text else ""


def plain(text: str) -> str:
    """Escape text so that it means nothing to Markdown: names are anybody's to choose."""
    flat = " ".join(text.split())
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in flat)


def option_value(value: Any) -> str:
    return f"`{short(value)}`"


def short(value: Any) -> str:
    """Return an option's value on one line, without what would end the code around it; a path by its last name."""
    text = " ".join(str(value).split()).replace("`", "'") or "empty"
    if text.startswith("/"):
        text = f"…/{text.rsplit('/', 1)[-1]}"
    return text if len(text) <= 80 else f"{text[:77]}…"
