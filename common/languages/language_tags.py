"""Read BCP 47 language tags, such as de or pt-BR, and lists of them. Pure: no Django.

Languages are compared by their first part: who reads pt reads pt-BR, too. Only the shape is checked, not whether the
language exists: language, script, region and variants, without extensions and private use.
"""

from __future__ import annotations

import re

LONGEST, LONGEST_LIST = 35, 120  # characters, as RFC 5646 recommends for one tag
UNKNOWN = ("und", "mis", "zxx")  # ISO 639-3: undetermined, not coded, no language
_TAG = re.compile(r"[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|\d{3}))?(-([a-z0-9]{5,8}|\d[a-z0-9]{3}))*", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,;/]+")


def parse_tag(text: str) -> str:
    """Return the tag as BCP 47 writes it, such as pt-BR for PT_br; "" for an empty text and for an unknown language.

    ValueError says what is wrong."""
    tag = text.strip().replace("_", "-")
    if not tag or tag.lower() in UNKNOWN:
        return ""
    if len(tag) > LONGEST or not _TAG.fullmatch(tag):
        raise ValueError(f"{text.strip()[:40]!r} is not a language code; use one such as de or pt-BR.")
    first, *others = tag.lower().split("-")
    return "-".join([first, *map(_cased, others)])


def parse_list(text: str) -> str:
    """Return the tags in it, each once, as "de, pt-BR"; between them commas, semicolons, slashes or spaces.

    ValueError says what is wrong."""
    tags = dict.fromkeys(filter(None, (parse_tag(part) for part in _BETWEEN.split(text))))
    joined = ", ".join(tags)
    if len(joined) > LONGEST_LIST:
        raise ValueError(f"These are {len(tags)} languages; enter fewer, or none for all.")
    return joined


def primary(tag: str) -> str:
    """Return the language alone, by which tags are compared: pt for pt-BR."""
    return tag.split("-")[0]


def primaries(tags: str) -> tuple[str, ...]:
    """Return the languages of a list, each once, in its order; () for an empty list, which means all."""
    return tuple(dict.fromkeys(primary(tag) for tag in tags.split(", ") if tag))


def _cased(part: str) -> str:
    """Return a script as Latn, a region as BR, and a variant in lower case."""
    return part.upper() if len(part) == 2 else part.title() if len(part) == 4 and part.isalpha() else part
