"""Define items: what a row says, whatever its format: a comparison, a rating, a ranking, a written answer, a prompt, a
marked span, a flag, an attack. Pure: no Django.

An answer may be empty: a model that said nothing was judged, too, and 54 of PandaLM's 999 pairs and 4 of hh-rlhf's are
such. An import takes them; a question may not be empty. Readers check shapes, not lengths, NULs or surrogates.

`extra` holds what we have no place for, in the fields of the format named by `format`, so that a writer of that format
gives the row back as it was; no other writer looks at it. `kept` is what a database must remember beside its own rows
for the same purpose.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from common.winners import swapped

Row = dict[str, Any]
Messages = list[dict[str, str]]
AnItem = TypeVar("AnItem", bound="Item")


@dataclass(frozen=True, kw_only=True)
class Item:
    """Hold one item of a file. `messages` end with the user's turn, which the completions answer. `judge` is the name
    that the file has."""

    messages: Messages
    judge: str = ""
    created_at: datetime | None = None
    comment: str = ""
    seconds: float | None = None
    language: str = ""
    category: str = ""
    source_id: str = ""
    format: str = ""
    extra: Row = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NewComparison(Item):
    """Two answers and which was better; `strength` 1 slightly, 2 clearly, 3 much.

    `is_ordered` is False where the file has a chosen and a rejected answer, and nobody knows which was shown first:
    `a` is then the chosen one. `later_a` and `later_b` are what followed where the two conversations went on apart.
    """

    a: str
    b: str
    winner: str
    strength: int | None = None
    model_a: str = ""
    model_b: str = ""
    is_ordered: bool = True
    later_a: Messages = field(default_factory=list)
    later_b: Messages = field(default_factory=list)

    def swapped(self) -> NewComparison:
        return changed(
            self,
            a=self.b,
            b=self.a,
            winner=swapped(self.winner),
            model_a=self.model_b,
            model_b=self.model_a,
            later_a=self.later_b,
            later_b=self.later_a,
        )


@dataclass(frozen=True, kw_only=True)
class NewRating(Item):
    """Thumbs, stars (1-5) and aspects (1-5 each) of one answer; at least one of them."""

    text: str
    model: str = ""
    thumbs: bool | None = None
    stars: int | None = None
    aspects: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NewRanking(Item):
    """Two or more answers, and groups of their places in `texts` from best to worst, equals together."""

    texts: tuple[str, ...]
    order: tuple[tuple[int, ...], ...]
    models: tuple[str, ...] = ()

    def pairs(self) -> list[tuple[int, int, str]]:
        """Return (place, place, winner) of every pair, the earlier place first."""
        level = {index: depth for depth, group in enumerate(self.order) for index in group}
        indices = sorted(level)
        return [(i, j, _winner(level[i], level[j])) for i in indices for j in indices if i < j]


@dataclass(frozen=True, kw_only=True)
class NewDemonstration(Item):
    """An answer to learn from: written by `judge`, perhaps made out of `edited_from`, or by `model`."""

    text: str
    model: str = ""
    edited_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class NewPrompt(Item):
    """A question without an answer of anybody; `answer` is the right one, where it is known."""

    answer: str = ""


@dataclass(frozen=True, kw_only=True)
class NewAnswers(Item):
    """One or more answers that nobody has judged yet: they become completions. `models` as many, or none."""

    texts: tuple[str, ...]
    models: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NewSpan(Item):
    """Characters `start` to `end` (code points) of an answer, and their label."""

    text: str
    start: int
    end: int
    label: str
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class NewFlag(Item):
    """A flag on an answer, or on the prompt where `text` is None."""

    reason: str
    text: str | None = None
    model: str = ""


@dataclass(frozen=True, kw_only=True)
class NewAttack(Item):
    """A conversation that tries to make a model do harm, whole: `messages` may end with either side's turn.

    `rating` 0 to 4: how well it succeeded, as the attacker saw it. The two scores are a harmlessness model's.
    """

    rating: float | None = None
    tags: tuple[str, ...] = ()
    task_description: str = ""
    model: str = ""
    min_harmlessness_score: float | None = None
    task_description_harmlessness_score: float | None = None


KINDS: dict[str, type[Item]] = {
    "comparison": NewComparison,
    "rating": NewRating,
    "ranking": NewRanking,
    "demonstration": NewDemonstration,
    "prompt": NewPrompt,
    "span": NewSpan,
    "flag": NewFlag,
    "attack": NewAttack,
}
KIND_OF: dict[type[Item], str] = {NewAnswers: "answers", **{table: kind for kind, table in KINDS.items()}}


def changed(item: AnItem, **values: Any) -> AnItem:
    """Return the item with other values in these fields. `dataclasses.replace` checks and sets each field anew, which
    takes ten times as long, and a file has millions of items."""
    copy = object.__new__(type(item))
    copy.__dict__.update(item.__dict__)
    copy.__dict__.update(values)
    return copy


def kept(item: Item, stored: frozenset[str] = frozenset(), **standing: Any) -> Row:
    """Return the fields of an item that its rows do not have, as JSON; {} for nothing.

    `stored` are fields that those rows have as the item says them, and `standing` is what they say of others:
    `kept(item, stored=frozenset(["a", "b", "winner"]), messages=prompt.messages)`. Every other field that has more than
    its default is kept, and every one that differs.
    """
    remembered = {}
    values = item.__dict__
    kind: Any = type(item)  # a class is hashable, whatever its objects are
    for name, default in _defaults(kind, stored):
        value = values[name]
        if value != standing.get(name, default):
            remembered[name] = value.isoformat() if isinstance(value, datetime) else value
    return remembered


def restored(item: Item, remembered: Row) -> Item:
    """Return the item with its remembered fields: `restored(as it stands, kept(item, …))` equals the item."""
    values = dict(remembered)
    if isinstance(values.get("created_at"), str):
        values["created_at"] = datetime.fromisoformat(values["created_at"])
    for name in ("texts", "models", "tags"):
        if name in values:
            values[name] = tuple(values[name])
    if "order" in values:
        values["order"] = tuple(tuple(group) for group in values["order"])
    return dataclasses.replace(item, **values)


@cache
def _defaults(kind: type[Item], stored: frozenset[str]) -> tuple[tuple[str, Any], ...]:
    """Return the fields that are not `stored`, each with its default."""
    return tuple((field.name, _default(field)) for field in dataclasses.fields(kind) if field.name not in stored)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _winner(level_a: int, level_b: int) -> str:
    if level_a == level_b:
        return "tie"
    return "model_a" if level_a < level_b else "model_b"
