"""What may be said about an item: each field's rule, and the sentence that refuses what breaks it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from annotate.errors import Refused
from annotate.models import Assignment, Completion, Winner

MAX_COMMENT_CHARACTERS = 10_000
MAX_KEY_CHARACTERS = 120
MAX_SECONDS = 24 * 3600
MAX_ASPECTS = 20


@dataclass(frozen=True)
class Judgement:
    winner: str | None
    strength: int | None
    thumbs: bool | None
    stars: int | None
    aspects: dict[str, int]
    text: str | None
    edited_from: Completion | None
    comment: str
    seconds: float | None

    @property
    def is_rating(self) -> bool:
        return self.thumbs is not None or self.stars is not None or bool(self.aspects)


def check(judgement: Judgement, assignment: Assignment) -> None:
    """Raises Refused at the first thing that is wrong."""
    if assignment.kind == Assignment.Kind.COMPARE:
        _check_comparison(judgement)
    else:
        _check_rating(judgement)
    check_text("comment", judgement.comment, MAX_COMMENT_CHARACTERS)
    _check_demonstration(judgement, assignment)
    _check_seconds(judgement.seconds)


def check_key(key: object) -> None:
    if key is not None and (not isinstance(key, str) or len(key) > MAX_KEY_CHARACTERS or "\x00" in key):
        raise Refused(idempotency_key=f"Use a text of at most {MAX_KEY_CHARACTERS} characters, such as a UUID.")


def check_winner(winner: object, strength: object) -> None:
    """Also the arena's rule: a known winner, and a strength only where one side won."""
    if winner not in Winner.values:
        raise Refused(winner=f"{winner!r} is unknown; use one of {', '.join(Winner.values)}.")
    if strength is None:
        return
    if winner not in (Winner.MODEL_A, Winner.MODEL_B):
        raise Refused(strength="Only a win has a strength; leave it out for a tie or when both are bad.")
    if not _is_whole(strength, 1, 3):
        raise Refused(strength=f"{strength!r} is not 1 (slightly), 2 (clearly) or 3 (much better).")


def check_text(field: str, text: object, limit: int) -> None:
    if not isinstance(text, str):
        raise Refused(**{field: f"This is a text; {type(text).__name__} was sent."})
    if len(text) > limit:
        raise Refused(413, **{field: f"It has {len(text):,} characters; shorten it to {limit:,}."})
    if "\x00" in text:
        raise Refused(**{field: "It contains a null character, which cannot be stored; remove it."})


def _check_comparison(judgement: Judgement) -> None:
    for field in ("thumbs", "stars", "aspects"):
        if getattr(judgement, field) not in (None, {}):
            raise Refused(**{field: "This item compares two answers; send `winner` instead."})
    if judgement.winner is not None:
        check_winner(judgement.winner, judgement.strength)
    elif judgement.strength is not None:
        raise Refused(strength="A strength needs a winner: model_a or model_b.")
    elif judgement.text is None:
        raise Refused(winner="Nothing was chosen; say which answer is better, or skip the item.")


def _check_rating(judgement: Judgement) -> None:
    for field in ("winner", "strength"):
        if getattr(judgement, field) is not None:
            raise Refused(**{field: "This item is one answer to rate; send `thumbs` or `stars` instead."})
    if judgement.thumbs is not None and not isinstance(judgement.thumbs, bool):
        raise Refused(thumbs=f"{judgement.thumbs!r} is neither true (up) nor false (down).")
    if judgement.stars is not None and not _is_whole(judgement.stars, 1, 5):
        raise Refused(stars=f"{judgement.stars!r} is not a whole number from 1 to 5.")
    check_aspects(judgement.aspects)
    if not judgement.is_rating and judgement.text is None:
        raise Refused(stars="Nothing was rated; give thumbs or stars, or skip the item.")


def check_aspects(aspects: object) -> None:
    if not isinstance(aspects, dict) or len(aspects) > MAX_ASPECTS:
        raise Refused(aspects=f"Send at most {MAX_ASPECTS} names with a number each, such as {{'helpful': 4}}.")
    for name, value in aspects.items():
        is_name = isinstance(name, str) and 1 <= len(name) <= 40 and name.isprintable()
        if not is_name or not _is_whole(value, 1, 5):
            told = f"{name!r}: {value!r}"[:80]
            raise Refused(aspects=f"{told} is not a name of 1 to 40 characters with a number from 1 to 5.")


def _check_demonstration(judgement: Judgement, assignment: Assignment) -> None:
    if judgement.edited_from is not None and judgement.edited_from not in assignment.completions:
        raise Refused(edited_from="That answer is not part of this item; name one of those shown, or none.")
    if judgement.text is None:
        return
    check_text("text", judgement.text, settings.MAX_COMPLETION_CHARACTERS)
    if not judgement.text.strip():
        raise Refused(text="The answer is empty; write one, or leave the field out.")
    if any(judgement.text.strip() == completion.text.strip() for completion in assignment.completions):
        raise Refused(text="This is an answer shown here, word for word; change it, or leave the field out.")


def _check_seconds(seconds: Any) -> None:
    if seconds is None:
        return
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
        raise Refused(seconds=f"{seconds!r} is not a number of seconds from 0 to {MAX_SECONDS}.")


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
