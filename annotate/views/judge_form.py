"""The judge's form: what it offers, what was sent with it in the words of the actions, and what it is filled with."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from annotate.errors import Refused
from annotate.models import Assignment

SKIP_REASONS = (
    "I cannot judge this",
    "The prompt is unclear or broken",
    "Offensive or unsafe",
    "No difference that matters",
)


@dataclass(frozen=True)
class Verdict:
    """One choice when two answers are compared: `model_a:3` is winner model_a with strength 3."""

    value: str
    label: str
    key: str
    side: str = ""


VERDICTS = (
    Verdict("model_a:3", "A is much better", "1", "toa"),
    Verdict("model_a:2", "A is better", "2", "toa"),
    Verdict("tie", "About the same", "3"),
    Verdict("model_b:2", "B is better", "4", "tob"),
    Verdict("model_b:3", "B is much better", "5", "tob"),
    Verdict("both_bad", "Both are bad", "0"),
)


@dataclass(frozen=True)
class Entered:
    """What stands in the form: sent and refused, or taken back by undo."""

    choice: str = ""
    thumbs: str = ""
    stars: str = ""
    text: str = ""
    edited_from: str = ""
    comment: str = ""
    errors: dict[str, str] = field(default_factory=dict)
    status: int = 200


def judgement(request: HttpRequest, assignment: Assignment) -> dict[str, Any]:
    """The form's fields in the action's words. What is not understood is passed on, for the action to refuse."""
    post = request.POST
    winner, _, strength = post.get("choice", "").partition(":")
    text = post.get("text", "").replace("\r\n", "\n")
    letters = dict(zip("ab", assignment.completions, strict=False))
    return {
        "winner": winner or None,
        "strength": _whole(strength),
        "thumbs": {"up": True, "down": False, "": None}.get(post.get("thumbs", ""), post.get("thumbs")),
        "stars": _whole(post.get("stars", "")),
        "text": text if text.strip() else None,
        "edited_from": letters.get(post.get("edited_from", "")) if text.strip() else None,
        "comment": post.get("comment", "").replace("\r\n", "\n").strip(),
    }


def _whole(text: str) -> int | str | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text or None


def seconds(request: HttpRequest) -> float | None:
    """As the page's script measured them, with the page in view; else from when the form was made."""
    for name, since in (("seconds", 0.0), ("shown_at", time.time())):
        try:
            value = float(request.POST.get(name, ""))
        except ValueError:
            continue
        value = since - value if since else value
        if math.isfinite(value) and 0 <= value <= 24 * 3600:
            return round(value, 2)
    return None


def entered(request: HttpRequest, refused: Refused) -> Entered:
    names = ("choice", "thumbs", "stars", "text", "edited_from", "comment")
    return Entered(**{name: request.POST.get(name, "") for name in names}, errors=refused.errors, status=refused.status)


def taken_back(assignment: Assignment) -> Entered:
    """What was said before the undo, so that it need only be corrected."""
    comparison = assignment.comparisons.last()
    rating = assignment.ratings.last()
    answer = assignment.demonstrations.last()
    said = comparison or rating or answer
    if said is None:
        return Entered()
    start = answer.edited_from_id if answer else None
    return Entered(
        choice=":".join(str(v) for v in (comparison.winner, comparison.strength) if v) if comparison else "",
        thumbs={True: "up", False: "down", None: ""}[rating.thumbs] if rating else "",
        stars=str(rating.stars or "") if rating else "",
        text=answer.text if answer else "",
        edited_from={assignment.completion_a_id: "a", assignment.completion_b_id: "b"}.get(start, "") if start else "",
        comment=said.comment,
    )
