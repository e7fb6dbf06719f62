"""OpenAI's comparisons of summaries (2009.01325): `info`, two `summaries`, `choice` 0 or 1, `worker`, `extra`.

The prompt is what the paper asked a model: SUBREDDIT, TITLE, POST, TL;DR. The confidence, on a scale of the labelling
page of that time, is kept and is no strength. Pure: no Django.
"""

from __future__ import annotations

import re
from typing import Any

from annotate.data.formats import fields
from annotate.data.formats.common_prefix import text_of
from annotate.data.formats.items import Item, NewComparison, Row

_NAMES = {"subreddit": "SUBREDDIT: r/", "title": "TITLE: ", "post": "POST: ", "article": "ARTICLE: "}
_END, _ASIS = "TL;DR:", "prompt"  # what we write of a prompt that asks for no such summary
_ASKED = re.compile(
    r"(?:SUBREDDIT: r/(?P<subreddit>[^\n]*)\n\n)?(?:TITLE: (?P<title>[^\n]*)\n\n)?"
    r"(?:POST: (?P<post>.*)|ARTICLE: (?P<article>.*))\n\nTL;DR:",
    re.DOTALL,
)


def fits(row: Row) -> bool:
    return isinstance(fields.parsed(row.get("info")), dict) and "summaries" in row and "choice" in row


def read(row: Row) -> Item:
    info, summaries = fields.parsed(row.get("info")), fields.parsed(row.get("summaries"))
    if not isinstance(info, dict) or not any(fields.optional(info, n) for n in ("post", "article", _ASIS)):
        raise ValueError("has no info with a post or an article.")
    if not isinstance(summaries, list) or len(summaries) != 2 or not all(isinstance(s, dict) for s in summaries):
        raise ValueError("needs two summaries.")
    choice = fields.whole(row, "choice", 0, 1)
    if choice is None:
        raise ValueError("has no choice; use 0 or 1.")
    first, second = summaries
    return NewComparison(
        messages=fields.question(_prompt_text(info)),
        a=fields.text(first, "text"),
        b=fields.text(second, "text"),
        winner=("model_a", "model_b")[choice],
        model_a=fields.optional(first, "policy"),
        model_b=fields.optional(second, "policy"),
        judge=fields.optional(row, "worker"),
        category=fields.optional(info, "subreddit"),
        source_id=fields.optional(info, "id"),
    )


def write(item: Item) -> Row | None:
    if not isinstance(item, NewComparison) or item.winner not in ("model_a", "model_b"):
        return None
    return {
        "info": {"id": item.source_id, **_info(text_of(item.messages))},
        "summaries": [{"text": item.a, "policy": item.model_a}, {"text": item.b, "policy": item.model_b}],
        "choice": ("model_a", "model_b").index(item.winner),
        "worker": item.judge,
    }


def _prompt_text(info: dict[str, Any]) -> str:
    if fields.optional(info, _ASIS):
        return fields.text(info, _ASIS)
    parts = [f"{begin}{fields.optional(info, name)}" for name, begin in _NAMES.items() if fields.optional(info, name)]
    return "\n\n".join([*parts, _END])


def _info(text: str) -> dict[str, str]:
    match = _ASKED.fullmatch(text)
    return {name: part for name, part in match.groupdict().items() if part is not None} if match else {_ASIS: text}
