"""Separate what a model thinks before it answers from the answer. Pure.

Servers send it in a field of its own (`reasoning`, `reasoning_content`) or within the text, between `<think>` and
`</think>` at its beginning. Some chat templates open the mark themselves, so that the text has its end alone, on a
line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

OPEN, CLOSE = "<think>", "</think>"
_BEGINS = re.compile(r"\s*<think>")
_ENDS_ALONE = re.compile(r"(?:^|\n)[ \t]*</think>[ \t]*(?:\n|$)")


class Apart(NamedTuple):
    answer: str
    reasoning: str


def split(text: str) -> Apart:
    """Return the answer and what came before it. An answer that was cut while it thought is empty."""
    if begin := _BEGINS.match(text):
        thoughts, _, answer = text[begin.end() :].partition(CLOSE)
        return Apart(answer.lstrip(), thoughts.strip())
    if CLOSE in text and (end := _ENDS_ALONE.search(text)):
        return Apart(text[end.end() :].lstrip(), text[: end.start()].strip())
    return Apart(text, "")


def split_so_far(text: str) -> Apart:
    """Return the same of a text that goes on: what may still become a mark is shown as neither."""
    if not text.strip() or OPEN.startswith(text.lstrip()):
        return Apart("", "")
    return split(text)


def of_message(message: Mapping[str, Any]) -> str:
    """Return the reasoning that a server sent in a field of its own; "" without one."""
    for name in ("reasoning_content", "reasoning"):
        if isinstance(text := message.get(name), str) and text:
            return text
    return ""


def joined(field: str, in_text: str) -> str:
    """Return what a server sent in both places as one text."""
    return "\n\n".join(part for part in (field.strip(), in_text) if part)
