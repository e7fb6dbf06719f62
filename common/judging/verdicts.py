"""Read a judge model's reply: the first answer, the second, a tie, a grade, or nothing that can be read. Pure."""

from __future__ import annotations

import re

FIRST, SECOND, TIE = "first", "second", "tie"

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKED = re.compile(r"\[\[\s*(A|B|C|TIE|[AB]\s*(?:=|[<>]{1,2})\s*[AB])\s*\]\]", re.IGNORECASE)
_FIELD = re.compile(
    r'"(?:winner|verdict|preference|answer|choice)"\s*:\s*"?\s*(?:(?:answer|assistant|response)\s+)?(A|B|C|TIE)\b',
    re.IGNORECASE,
)
_LINE = re.compile(
    r"^[\W_]*(?:(?:final\s+)?(?:verdict|answer|winner|choice|judg[e]?ment)\s*(?:is)?\s*[:=\-–]?\s*)?[\W_]*"
    r"(?:(?:answer|assistant|response)\s+)?(A|B|C|TIE)(?:\s+is\s+better)?[\W_]*$",
    re.IGNORECASE,
)
_GRADE_MARKED = re.compile(r"\[\[\s*(\d+(?:\.\d+)?)\s*(?:/\s*\d+\s*)?\]\]")
_GRADE_FIELD = re.compile(r'"(?:score|grade|rating)"\s*:\s*"?\s*(\d+(?:\.\d+)?)', re.IGNORECASE)
_GRADE_LINE = re.compile(
    r"^[\W_]*(?:(?:final\s+)?(?:score|grade|rating)\s*(?:is)?\s*[:=\-–]?\s*)?(\d+(?:\.\d+)?)(?:\s*/\s*\d+)?[\W_]*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_MEANS = {"A": FIRST, "B": SECOND, "C": TIE, "TIE": TIE}


def verdict_of(reply: str) -> str | None:
    """Return what a judge said last: first, second, tie, or None where no verdict can be read.

    A mark such as [[A]] or [[A>>B]], else a JSON field such as "winner": "A", else a last line that holds nothing else.
    """
    text = _THOUGHT.sub("", reply).strip()
    if marks := _MARKED.findall(text):
        return _meant(marks[-1])
    if fields := _FIELD.findall(text):
        return _MEANS[fields[-1].upper()]
    last = text.splitlines()[-1] if text else ""
    line = _LINE.match(last)
    return _MEANS[line.group(1).upper()] if line else None


def _meant(mark: str) -> str | None:
    mark = re.sub(r"\s", "", mark).upper()
    if mark in _MEANS:
        return _MEANS[mark]
    left, sign, right = mark[0], mark[1], mark[-1]
    if left == right:
        return None
    return TIE if sign == "=" else _MEANS[left if sign == ">" else right]


def grade_of(reply: str, lowest: float, highest: float) -> float | None:
    """Return the grade that a judge gave last, as [[7]], "score": 7 or a last line that holds nothing else; None
    outside the scale."""
    text = _THOUGHT.sub("", reply).strip()
    found = _GRADE_MARKED.findall(text) or _GRADE_FIELD.findall(text) or _GRADE_LINE.findall(text)
    grade = float(found[-1]) if found else None
    return grade if grade is not None and lowest <= grade <= highest else None
