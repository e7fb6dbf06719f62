"""Check what may be said about an item: each field's rule, and the sentence that refuses what breaks it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from annotate.core.errors import Refused
from annotate.data import rankings
from annotate.labelling.forms.needed_fields import Need, needs, rating_names
from annotate.labelling.forms.spans import Mark, read_marks
from annotate.labelling.scales.declared import Asked, declares_rating, scales_in
from annotate.models import Assignment, Completion, Scale, Winner
from common.texts import NOT_STORABLE

MAX_COMMENT_CHARACTERS = 10_000
MAX_KEY_CHARACTERS = 120
MAX_SECONDS = 24 * 3600
MAX_ASPECTS = 20

Kind = Assignment.Kind
FIELDS = {
    Kind.RATE: ("thumbs", "stars", "aspects"),
    Kind.COMPARE: ("winner", "strength"),
    Kind.RANK: ("rank",),
    Kind.WRITE: (),
}
INSTEAD = {
    Kind.RATE: "This item is one answer to rate; send `thumbs` or `stars` instead.",
    Kind.COMPARE: "This item compares two answers; send `winner` instead.",
    Kind.RANK: "This item ranks several answers; send `rank` instead.",
    Kind.WRITE: "This item asks for an answer; send `text` instead.",
}


@dataclass(frozen=True)
class Submission:
    """An annotation as it was sent. `rank` is groups of ids, the best first; `spans` are {completion, start, end,
    label}."""

    winner: str | None = None
    strength: int | None = None
    thumbs: bool | None = None
    stars: int | None = None
    aspects: dict[str, int] = field(default_factory=dict)
    rank: list[list[int]] | None = None
    spans: list[dict[str, Any]] = field(default_factory=list)
    text: str | None = None
    edited_from: Completion | None = None
    comment: str = ""
    seconds: float | None = None

    @property
    def is_rating(self) -> bool:
        return self.thumbs is not None or self.stars is not None or bool(self.aspects)


@dataclass(frozen=True)
class Checked:
    """An annotation in which nothing is wrong, with its spans read."""

    submission: Submission
    marks: list[Mark]


def check(submission: Submission, assignment: Assignment, *, has_scales: bool = True) -> Checked:
    """Return the submission with its spans read. Raises Refused at the first thing that is wrong. Not `has_scales`: the
    project is known to have none of its own."""
    scales = scales_in(assignment.project, has_own=has_scales)
    kind = Kind(assignment.kind)
    _refuse_other_kinds(submission, kind)
    if kind == Kind.COMPARE:
        _check_comparison(submission)
    elif kind == Kind.RATE:
        _check_rating(submission, scales)
    elif kind == Kind.RANK:
        _check_ranking(submission, assignment)
    least, *required = needs(kind, scales)
    _check_needs(submission, [least])
    check_text("comment", submission.comment, MAX_COMMENT_CHARACTERS)
    _check_demonstration(submission, assignment)
    _check_seconds(submission.seconds)
    # Most annotations have neither marks nor a text: their answers are not looked at.
    marks = (
        read_marks(submission.spans, assignment.completions, scales[Scale.Kind.SPAN]) if submission.spans != [] else []
    )
    _check_needs(submission, required)
    return Checked(submission, marks)


def check_key(key: object) -> None:
    if key is not None and (not isinstance(key, str) or len(key) > MAX_KEY_CHARACTERS or "\x00" in key):
        raise Refused(idempotency_key=f"Use a text of at most {MAX_KEY_CHARACTERS} characters, such as a UUID.")


def check_extras(*, key: object, comment: object) -> None:
    """Refuse a bad idempotency key or comment: what any annotation may bring along, whatever it says."""
    check_key(key)
    check_text("comment", comment, MAX_COMMENT_CHARACTERS)


def check_winner(winner: object, strength: object) -> None:
    """Check a winner and a strength, also for the arena: a known winner, and a strength only where one side won."""
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
        raise Refused(**{field: f"Send a text, not {type(text).__name__}."})
    if len(text) > limit:
        raise Refused(413, **{field: f"It has {len(text):,} characters; shorten it to {limit:,}."})
    if "\x00" in text:
        raise Refused(**{field: NOT_STORABLE})


def _refuse_other_kinds(submission: Submission, kind: Kind) -> None:
    for name in (name for names in FIELDS.values() for name in names):
        if name not in FIELDS[kind] and getattr(submission, name) not in (None, {}):
            raise Refused(**{name: INSTEAD[kind]})


def _check_comparison(submission: Submission) -> None:
    if submission.winner is not None:
        check_winner(submission.winner, submission.strength)
    elif submission.strength is not None:
        raise Refused(strength="A strength needs a winner: model_a or model_b.")


def _check_rating(submission: Submission, scales: Asked) -> None:
    if submission.thumbs is not None and not isinstance(submission.thumbs, bool):
        raise Refused(thumbs=f"{submission.thumbs!r} is neither true (up) nor false (down).")
    if submission.stars is not None and not _is_whole(submission.stars, 1, 5):
        raise Refused(stars=f"{submission.stars!r} is not a whole number from 1 to 5.")
    check_aspects(submission.aspects)
    if declares_rating(scales):
        _refuse_what_is_not_asked(submission, scales)


def _refuse_what_is_not_asked(submission: Submission, scales: Asked) -> None:
    """Refuse ratings that the project does not ask for: figures over few rows would mislead."""
    for name in ("thumbs", "stars"):
        if getattr(submission, name) is not None and not scales[name]:
            raise Refused(**{name: f"This project does not ask for {name}; it asks for {rating_names(scales)}."})
    names = [scale.name for scale in scales[Scale.Kind.ASPECT]]
    for name in submission.aspects:
        if name not in names:
            raise Refused(aspects=f"{name!r} is not an aspect of this project; it asks for {rating_names(scales)}.")


def check_aspects(aspects: object) -> None:
    if not isinstance(aspects, dict) or len(aspects) > MAX_ASPECTS:
        raise Refused(aspects=f"Send at most {MAX_ASPECTS} names with a number each, such as {{'helpful': 4}}.")
    for name, value in aspects.items():
        is_name = isinstance(name, str) and 1 <= len(name) <= 40 and name.isprintable()
        if not is_name or not _is_whole(value, 1, 5):
            text = f"{name!r}: {value!r}"[:80]
            raise Refused(aspects=f"{text} is not a name of 1 to 40 characters with a number from 1 to 5.")


def _check_ranking(submission: Submission, assignment: Assignment) -> None:
    if submission.rank is not None and (problem := rankings.problem(submission.rank, assignment.shown)):
        raise Refused(rank=problem)


def _check_needs(submission: Submission, wanted: list[Need]) -> None:
    for need in wanted:
        if not any(_is_filled(submission, field, need.aspect) for field in need.fields):
            raise Refused(**{need.fields[0]: need.words})


def _is_filled(submission: Submission, field: str, aspect: str) -> bool:
    value = getattr(submission, field)
    return value.get(aspect) is not None if aspect else value not in (None, {}, [])


def _check_demonstration(submission: Submission, assignment: Assignment) -> None:
    if submission.text is None and submission.edited_from is None:
        return
    completions = assignment.completions
    if submission.edited_from is not None and submission.edited_from not in completions:
        raise Refused(edited_from="That answer is not part of this item; use one of the item's answers, or none.")
    if submission.text is None:
        return
    check_text("text", submission.text, settings.MAX_COMPLETION_CHARACTERS)
    if not submission.text.strip():
        raise Refused(text="The answer is empty; write one, or leave the field out.")
    if any(submission.text.strip() == completion.text.strip() for completion in completions):
        raise Refused(text="The text is equal to an answer of this item; change it, or leave the field empty.")


def _check_seconds(seconds: Any) -> None:
    if seconds is None:
        return
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
        raise Refused(seconds=f"{seconds!r} is not a number of seconds from 0 to {MAX_SECONDS}.")


def _is_whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
