"""Read the annotator's form into the actions' words, and fill it again."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from annotate.core.errors import Refused
from annotate.core.form_idempotency import feedback_key
from annotate.core.page_access import MemberRequest
from annotate.data import rankings
from annotate.labelling.forms.storage import STANDING, rows_of
from annotate.labelling.forms.verdicts import value_of
from annotate.models import Assignment, Comparison, Completion, Demonstration, Ranking, Rating, Span
from common.texts import with_line_feeds
from common.whole_numbers import whole_number

SKIP_REASONS = (
    "I cannot judge this",
    "The prompt is unclear or broken",
    "Offensive or unsafe",
    "No relevant difference",
)
LETTERS = "abcdef"
ONE_SUBMISSION = timedelta(seconds=1)  # its rows are written within this


@dataclass(frozen=True)
class Entered:
    """The contents of the form: sent and refused, or restored by undo."""

    choice: str = ""
    thumbs: str = ""
    stars: str = ""
    aspects: dict[str, str] = field(default_factory=dict)
    ranks: dict[int, str] = field(default_factory=dict)
    spans: str = ""
    text: str = ""
    edited_from: str = ""
    comment: str = ""
    seconds: float = 0.0  # that it has taken so far: whoever corrects it goes on from there
    errors: dict[str, str] = field(default_factory=dict)
    status: int = 200
    is_sent: bool = False  # these words were sent with the form itself: they are newer than any draft


def submitted(request: HttpRequest, assignment: Assignment) -> dict[str, Any]:
    """Return the form's fields in the action's words. What is not understood is passed on, for the action to refuse."""
    post = request.POST
    winner, _, strength = post.get("choice", "").partition(":")
    text = with_line_feeds(post.get("text", ""))
    return {
        "winner": winner or None,
        "strength": _whole_number(strength),
        "thumbs": {"up": True, "down": False, "": None}.get(post.get("thumbs", ""), post.get("thumbs")),
        "stars": _whole_number(post.get("stars", "")),
        "aspects": {name: _whole_number(value) for name, value in _aspects(request).items()},
        "rank": _order(_ranks(request), assignment),
        "spans": _spans(post.get("spans", "")),
        "text": text if text.strip() else None,
        "edited_from": _edited(post.get("edited_from", ""), assignment) if text.strip() else None,
        "comment": with_line_feeds(post.get("comment", "")).strip(),
    }


def _edited(letter: str, assignment: Assignment) -> Completion | None:
    """Return the answer that was edited. Without a letter the answers are not looked at: they may not be at hand."""
    return dict(zip(LETTERS, assignment.completions, strict=False)).get(letter) if letter else None


def _aspects(request: HttpRequest) -> dict[str, str]:
    """Return `aspect-helpful` and its like, without those left empty."""
    return _prefixed(request, "aspect-")


def _ranks(request: HttpRequest) -> dict[int, str]:
    """Return `rank-12` and its like: the place given to each completion, as it was sent."""
    fields = _prefixed(request, "rank-")
    numbers = {whole_number(pk, None): position for pk, position in fields.items()}
    return {pk: position for pk, position in numbers.items() if pk is not None}


def _prefixed(request: HttpRequest, prefix: str) -> dict[str, str]:
    fields = {name: request.POST.get(name, "") for name in request.POST if name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in fields.items() if value}


def _order(ranks: dict[int, str], assignment: Assignment) -> list[list[int]] | None:
    """Return the places as groups of equals, in the order shown. Refused for a place that is no number of this item's
    places."""
    if not ranks:
        return None
    count = len(assignment.shown)
    for position in ranks.values():
        if _whole_number(position) not in range(1, count + 1):
            raise Refused(rank=f"{position!r} is not a rank; give each answer a number from 1 (the best) to {count}.")
    ordered = [*(pk for pk in assignment.shown if pk in ranks), *(pk for pk in ranks if pk not in assignment.shown)]
    return rankings.groups({pk: int(ranks[pk]) for pk in ordered})


def _spans(text: str) -> Any:
    """Return the list that the page's script wrote; what is no JSON is passed on, for the action to refuse."""
    try:
        return json.loads(text) if text.strip() else []
    except (ValueError, RecursionError):
        return text


def _whole_number(text: str) -> int | str | None:
    return whole_number(text, text or None, digits=9)


def seconds(request: HttpRequest) -> float | None:
    """Return the seconds that the page's script measured with the page in view; else since the form was made."""
    if (measured := _seconds(request, "seconds")) is not None:
        return measured
    return _seconds(request, "shown_at", since=time.time())


def shown_for(request: HttpRequest) -> timedelta:
    """Return how long the page has shown the item that it went on to by itself."""
    return timedelta(seconds=_seconds(request, "shown_for") or 0)


def _seconds(request: HttpRequest, name: str, since: float = 0.0) -> float | None:
    try:
        value = float(request.POST.get(name, ""))
    except ValueError:
        return None
    value = since - value if since else value
    return round(value, 2) if math.isfinite(value) and 0 <= value <= 24 * 3600 else None


def submission(request: MemberRequest, assignment: Assignment) -> dict[str, Any]:
    """Return what `actions.submit` and `actions.revise` take from the form. Raises Refused."""
    return {
        **submitted(request, assignment),
        "seconds": seconds(request),
        "idempotency_key": feedback_key(request, str(request.user.pk)),
    }


def entered(request: HttpRequest, refused: Refused) -> Entered:
    names = ("choice", "thumbs", "stars", "spans", "text", "edited_from", "comment")
    return Entered(
        **{name: request.POST.get(name, "") for name in names},
        aspects=_aspects(request),
        ranks=_ranks(request),
        seconds=seconds(request) or 0.0,
        errors=refused.errors,
        status=refused.status,
        is_sent=True,
    )


def beside(assignment: Assignment | None, refused: Refused) -> Entered:
    """Return the item's form as it stands, with an error that is not about the form: a skip, an undo."""
    standing = taken_back(assignment) if assignment else Entered()
    return replace(standing, errors=refused.errors, status=refused.status)


def taken_back(assignment: Assignment) -> Entered:
    """Return the last annotation as form input, to be corrected: after undo, and when it is edited."""
    last_rows = _last_rows(assignment)
    if not last_rows:
        return Entered()
    comparison = next((row for row in last_rows if isinstance(row, Comparison)), None)
    rating = next((row for row in last_rows if isinstance(row, Rating)), None)
    ranking = next((row for row in last_rows if isinstance(row, Ranking)), None)
    answer = next((row for row in last_rows if isinstance(row, Demonstration)), None)
    spans = [row for row in last_rows if isinstance(row, Span)]
    letters = {completion.pk: letter for letter, completion in zip(LETTERS, assignment.completions, strict=False)}
    return Entered(
        choice=value_of(comparison.winner, comparison.strength) if comparison else "",
        thumbs={True: "up", False: "down", None: ""}[rating.thumbs] if rating else "",
        stars=str(rating.stars or "") if rating else "",
        aspects={name: str(value) for name, value in rating.aspects.items()} if rating else {},
        ranks={pk: str(position) for pk, position in rankings.places(ranking.order).items()} if ranking else {},
        spans=json.dumps([_as_sent(span) for span in spans]) if spans else "",
        text=answer.text if answer else "",
        edited_from=letters.get(answer.edited_from_id, "") if answer else "",
        comment=last_rows[0].comment,
        seconds=next((row.seconds for row in last_rows if row.seconds), 0.0),
    )


def _last_rows(assignment: Assignment) -> list[Any]:
    """Return the rows that stand, else those of the last submission, which was withdrawn; without pairs of a
    ranking."""
    rows = [row for row in rows_of(assignment) if not (isinstance(row, Comparison) and row.ranking_id)]
    if standing := [row for row in rows if row.status in STANDING]:
        return standing
    newest = max((row.created_at for row in rows), default=None)
    return [row for row in rows if newest - row.created_at < ONE_SUBMISSION] if newest else []


def _as_sent(span: Span) -> dict[str, Any]:
    return {"completion": span.completion_id, "start": span.start, "end": span.end, "label": span.label}
