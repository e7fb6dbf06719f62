"""Read the terms of the field with their definitions from the guide `glossary`, for pages to show. Pure: no Django."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from annotate.guides.guide_files import FOLDER, heading_name

GUIDE = "glossary"
_REFERENCE = re.compile(r" See \[[^\]]*\]\([^)]*\)\.")


@dataclass(frozen=True)
class Term:
    """Hold a term. `key` names it in templates and is the name of its heading in the guide."""

    key: str
    title: str
    definition: str


@cache
def glossary() -> dict[str, Term]:
    """Return every term by its key."""
    _, *entries = (FOLDER / f"{GUIDE}.md").read_text(encoding="utf-8").split("\n## ")
    terms = [_term(entry) for entry in entries]
    return {term.key: term for term in terms}


def require_term(key: str) -> Term:
    """Return the term. KeyError for what the glossary does not have: a page would name a term that nobody defined."""
    try:
        return glossary()[key]
    except KeyError:
        raise KeyError(f"docs/guides/{GUIDE}.md has no term {key!r}: add a heading, and a sentence below it.") from None


def _term(entry: str) -> Term:
    title, _, text = entry.partition("\n")
    return Term(heading_name(title), title, _REFERENCE.sub("", " ".join(text.split())))
