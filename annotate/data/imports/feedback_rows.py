"""Turn an item into a row of its table, and compute the name by which that row is found again.

An annotation is the same when source, prompt, answers, judge, the file's own id for it and what was said are the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import models

from annotate.data.formats.items import (
    Item,
    Messages,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewRanking,
    NewRating,
    NewSpan,
    kept,
)
from annotate.data.imports.bulk_insert import as_json
from annotate.models import Attack, Comparison, Demonstration, Flag, Ranking, Rating, Span


@dataclass(frozen=True)
class Into:
    """Hold what the rows of one import share. `linked` are models by the names that the file may give them."""

    project: int
    source: str
    author: int | None
    judge: str
    guideline: int | None = None
    linked: dict[str, int] = field(default_factory=dict)


@dataclass
class Table:
    """New rows of one kind of feedback, each under the name by which it is found again."""

    model: type[models.Model]
    columns: tuple[str, ...]
    rows: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def want(self, name: str, row: tuple[Any, ...]) -> None:
        self.names.append(name)
        self.rows.setdefault(name, row)


Tables = dict[str, Table]


class ExistingPrompt(NamedTuple):
    """A prompt that the project has. `side` is the split that it was given: another share may go to the eval split by
    now."""

    key: int
    messages: Messages
    category: str
    language: str
    side: str


_SHARED = ("prompt_id", "source_judge", "comment", "seconds", "extra")
_SCORES = ("min_harmlessness_score", "task_description_harmlessness_score")
# Fields of an item that its row has as they are.
_SAID_OF_ALL = frozenset(["judge", "comment", "seconds"])
_OF_COMPARISON = _SAID_OF_ALL | {"a", "b", "winner", "strength", "model_a", "model_b"}
_OF_RATING = _SAID_OF_ALL | {"thumbs", "stars", "aspects", "text", "model"}
_OF_RANKING = _SAID_OF_ALL | {"texts", "models", "order"}
_OF_DEMONSTRATION = _SAID_OF_ALL | {"text", "edited_from"}
_OF_SPAN = _SAID_OF_ALL | {"text", "model", "start", "end"}
_OF_FLAG = _SAID_OF_ALL | {"text", "model"}
_OF_ATTACK = _SAID_OF_ALL | {"messages", "rating", "tags", "task_description", *_SCORES}
COMPARISON = ("completion_a_id", "completion_b_id", "winner", "strength", *_SHARED)


def new_tables() -> Tables:
    return {
        "comparisons": Table(Comparison, COMPARISON),
        "ratings": Table(Rating, ("completion_id", "thumbs", "stars", "aspects", *_SHARED)),
        "rankings": Table(Ranking, ("order", *_SHARED)),
        "demonstrations": Table(Demonstration, ("text", "edited_from_id", *_SHARED)),
        "spans": Table(Span, ("completion_id", "start", "end", "label", "text", *_SHARED)),
        "flags": Table(Flag, ("completion_id", "reason", *_SHARED)),
        "attacks": Table(Attack, (*("messages", "rating", "tags", "task_description", *_SCORES), *_SHARED)),
    }


def add(tables: Tables, item: Item, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    """Add an item to its table; `answers` are the keys of its completions, in its order."""
    _ROWS[type(item)](tables, item, prompt, answers, into)


def _comparison(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    a, b = answers
    if not item.is_ordered and (item.winner == "model_b" or (item.winner != "model_a" and a > b)):
        item, a, b = item.swapped(), b, a  # as the file may say it that came out of here: the sides mean nothing
    parts = ("ordered", item.winner) if item.is_ordered else () if item.winner == "model_a" else (item.winner,)
    digest = _digest(into, prompt.key, a, b, *parts, *_more(item, item.strength))
    # Where nobody knows any more which was shown first: by lot, so that the winner does not always stand on one side,
    # and by hash, so that the next import finds the same row.
    if not item.is_ordered and digest[0] % 2 == 1:
        item, a, b = item.swapped(), b, a
    row = (a, b, item.winner, item.strength, *_shared(item, prompt, _OF_COMPARISON))
    tables["comparisons"].want(_name(digest), row)


def _rating(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    aspects = json.dumps(item.aspects, sort_keys=True)
    digest = _digest(into, prompt.key, *answers, "rating", item.thumbs, item.stars, aspects, *_more(item))
    row = (
        answers[0],
        item.thumbs,
        item.stars,
        aspects,
        *_shared(item, prompt, _OF_RATING),
    )
    tables["ratings"].want(_name(digest), row)


def _ranking(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    order = as_json([[answers[index] for index in group] for group in item.order])
    digest = _digest(into, prompt.key, "ranking", order, *_more(item))
    # The texts stand in the order's completions, and which place each had in the file is kept where it was another.
    flat = [index for group in item.order for index in group]
    stored = _OF_RANKING if flat == sorted(flat) else _SAID_OF_ALL
    tables["rankings"].want(_name(digest), (order, *_shared(item, prompt, stored)))


def _demonstration(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    edited = answers[0] if answers else None
    text_hash = hashlib.sha256(item.text.encode()).hexdigest()
    digest = _digest(into, prompt.key, "demonstration", text_hash, edited, item.model, *_more(item))
    shared = _shared(item, prompt, _OF_DEMONSTRATION)
    tables["demonstrations"].want(_name(digest), (item.text, edited, *shared))


def _span(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    marked, label = item.text[item.start : item.end], item.label[:40]
    digest = _digest(into, prompt.key, *answers, "span", item.start, item.end, item.label, *_more(item))
    row = (
        answers[0],
        item.start,
        item.end,
        label,
        marked,
        *_shared(item, prompt, _OF_SPAN, label=label),
    )
    tables["spans"].want(_name(digest), row)


def _flag(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    digest = _digest(into, prompt.key, *answers, "flag", item.reason, *_more(item))
    row = (
        answers[0] if answers else None,
        item.reason[:200],
        *_shared(item, prompt, _OF_FLAG, reason=item.reason[:200]),
    )
    tables["flags"].want(_name(digest), row)


def _attack(tables: Tables, item: Any, prompt: ExistingPrompt, answers: Sequence[int], into: Into) -> None:
    messages, tags = as_json(item.messages), as_json(list(item.tags))
    scores = (item.rating, item.task_description, tags, *(getattr(item, name) for name in _SCORES))
    digest = _digest(into, prompt.key, "attack", hashlib.sha256(messages.encode()).hexdigest(), *scores, *_more(item))
    extra = kept(item, _OF_ATTACK)
    row = (messages, item.rating, tags, item.task_description, *(getattr(item, name) for name in _SCORES))
    tables["attacks"].want(_name(digest), (*row, *_columns(item, prompt, extra)))


_ROWS = {
    NewAttack: _attack,
    NewComparison: _comparison,
    NewRating: _rating,
    NewRanking: _ranking,
    NewDemonstration: _demonstration,
    NewSpan: _span,
    NewFlag: _flag,
}


def _digest(into: Into, prompt: int, *parts: object) -> bytes:
    text = "\n".join(map(str, (into.source, prompt, *parts)))
    return hashlib.sha256(text.encode()).digest()


def _more(item: Item, strength: int | None = None) -> tuple[object, ...]:
    """Return what distinguishes two equal annotations of the same item: nothing, where the file names no annotator."""
    return (item.judge, item.source_id, strength) if item.judge or item.source_id or strength else ()


def _name(digest: bytes) -> str:
    return f"import:{digest.hex()}"


def _shared(item: Item, prompt: ExistingPrompt, stored: frozenset[str], **row_values: Any) -> tuple[Any, ...]:
    """Return the shared columns. `stored` are the item's fields that the row has as they are, `row_values` what its own
    columns have of others; all the rest goes to `extra`."""
    extra = kept(
        item, stored, **row_values, messages=prompt.messages, category=prompt.category, language=prompt.language
    )
    return _columns(item, prompt, extra)


def _columns(item: Item, prompt: ExistingPrompt, fields: dict[str, Any]) -> tuple[Any, ...]:
    # That alone is worth no place: any format can be written without it.
    extra = "{}" if fields.keys() <= {"format"} else as_json(fields)
    return (prompt.key, item.judge, item.comment, item.seconds, extra)
