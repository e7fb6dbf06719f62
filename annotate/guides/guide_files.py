"""Read the guides of docs/guides, with links that lead to their pages here. Pure: no Django."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "guides"
INDEX = "README"
PICTURES = "../pictures/"
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
_KEY = re.compile(r"<kbd>(.*?)</kbd>")
_GUIDE = re.compile(r"([a-z0-9-]+)\.md(#[\w-]+)?")


def heading_name(words: str) -> str:
    """Return the name by which a heading of a guide is linked to."""
    return re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-")


def guide_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != INDEX)


def guide_text(name: str, query: str = "") -> str:
    """Return a guide as Markdown. Links to other guides get `query`; what is no guide here becomes its words alone.

    Keys become code, since the site shows no markup of a text; blocks with pictures, which it does not serve, are left
    out.
    """

    def link(found: re.Match[str]) -> str:
        picture, words, target = found.groups()
        if not picture and (guide := _GUIDE.fullmatch(target)):
            return f"[{words}](/guides/{guide[1]}/{query}{guide[2] or ''})"
        return found[0] if not picture and target.startswith(("https://", "#")) else words

    blocks = (FOLDER / f"{name}.md").read_text(encoding="utf-8").split("\n\n")
    text = "\n\n".join(block for block in blocks if f"]({PICTURES}" not in block)
    return _LINK.sub(link, _KEY.sub(r"`\1`", text))
