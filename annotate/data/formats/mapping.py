"""Read a plain table whose columns have other names: which of its columns is which of ours. Pure: no Django.

What a row means follows from what is named: chosen and rejected, completion_a and completion_b with a winner, a
completion with a rating or alone, or a prompt alone. Answers without a winner are still to be judged, and so is one
answer with its model and no author.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from annotate.data.formats import fields, guessing, trl
from annotate.data.formats.items import (
    Item,
    Messages,
    NewAnswers,
    NewComparison,
    NewDemonstration,
    NewPrompt,
    NewRating,
    Row,
)

NAME = "table"
COMMON = ("author", "created_at", "comment", "language", "category", "id")
COLUMNS = (
    "prompt", "chosen", "rejected", "completion_a", "completion_b", "winner", "strength", "model_a", "model_b",
    "completion", "model", "thumbs", "stars", "system", "input", "answer", *COMMON,
)  # fmt: skip
ASPECT = "aspect:"


def mapped(columns: Mapping[str, str]) -> Callable[[Row, int], list[Item]]:
    """Return the reader for {ours: theirs}; `aspect:helpful` is an aspect's. ValueError names what is unknown or
    missing."""
    unknown = [name for name in columns if name not in COLUMNS and not name.startswith(ASPECT)]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is not a known column; use {', '.join(COLUMNS)} or {ASPECT}NAME.")
    if "prompt" not in columns:
        raise ValueError("Choose the column of the prompt: prompt=NAME.")
    make = _maker(columns)
    if "answer" in columns and make is not _prompt:
        raise ValueError("answer is the right answer of a prompt: choose no column of completions or annotations too.")
    column_names = set(columns.values())

    def read(row: Row, line: int) -> list[Item]:
        named = {column: row.get(name) for column, name in columns.items()}
        extra = {name: value for name, value in row.items() if name not in column_names}
        return [make(named, _common(named) | {"extra": extra, "format": NAME})]

    return read


def _maker(columns: Mapping[str, str]) -> Callable[[Row, Row], Item]:
    for first, second, make in (("chosen", "rejected", _chosen), ("completion_a", "completion_b", _compared)):
        if first in columns or second in columns:
            if not {first, second} <= set(columns):
                raise ValueError(f"Choose the columns of both {first} and {second}.")
            return _unjudged if make is _compared and "winner" not in columns else make
    if "completion" not in columns:
        return _prompt
    is_rated = any(name in ("thumbs", "stars") or name.startswith(ASPECT) for name in columns)
    if is_rated:
        return _rating
    return _unjudged if "model" in columns and "author" not in columns else _written


def _common(row: Row) -> dict[str, Any]:
    return {
        "messages": guessing.after_system(row, _asked(row)),
        "judge": fields.optional(row, "author"),
        "created_at": fields.moment(row.get("created_at")),
        "comment": fields.optional(row, "comment"),
        "language": fields.optional(row, "language"),
        "category": fields.optional(row, "category"),
        "source_id": fields.optional(row, "id"),
    }


def _asked(row: Row) -> Messages:
    messages = trl.prompt(row["prompt"])
    about = fields.optional(row, "input").strip()
    return [*messages[:-1], {**messages[-1], "content": f"{messages[-1]['content']}\n\n{about}"}] if about else messages


def _chosen(row: Row, common: Row) -> Item:
    (a, later_a), (b, later_b) = (trl.completion(row[name], name) for name in ("chosen", "rejected"))
    return NewComparison(
        **common, a=a, b=b, later_a=later_a, later_b=later_b, winner="model_a", is_ordered=False,
        strength=fields.whole(row, "strength", 1, 3),
    )  # fmt: skip


def _compared(row: Row, common: Row) -> Item:
    (a, later_a), (b, later_b) = (trl.completion(row[name], name) for name in ("completion_a", "completion_b"))
    models = fields.optional(row, "model_a"), fields.optional(row, "model_b")
    return NewComparison(
        **common, a=a, b=b, later_a=later_a, later_b=later_b, winner=fields.winner(row["winner"], "winner", *models),
        strength=fields.whole(row, "strength", 1, 3), model_a=models[0], model_b=models[1],
    )  # fmt: skip


def _unjudged(row: Row, common: Row) -> Item:
    names = [name for name in ("completion_a", "completion_b", "completion") if row.get(name) is not None]
    texts = tuple(trl.completion(row[name], name)[0] for name in names)
    models = tuple(fields.optional(row, name.replace("completion", "model")) for name in names)
    return NewAnswers(**common, texts=texts, models=models)


def _rating(row: Row, common: Row) -> Item:
    names = [name for name in row if name.startswith(ASPECT)]
    aspects = {name.removeprefix(ASPECT): fields.whole(row, name, 1, 5) for name in names}
    thumbs, stars = fields.truth(row, "thumbs"), fields.whole(row, "stars", 1, 5)
    given_aspects = {name: n for name, n in aspects.items() if n is not None}
    if thumbs is None and stars is None and not given_aspects:
        raise ValueError("has no thumbs, no stars and no aspect.")
    return NewRating(
        **common, text=fields.text(row, "completion"), model=fields.optional(row, "model"), thumbs=thumbs,
        stars=stars, aspects=given_aspects,
    )  # fmt: skip


def _written(row: Row, common: Row) -> Item:
    return NewDemonstration(**common, text=fields.text(row, "completion"), model=fields.optional(row, "model"))


def _prompt(row: Row, common: Row) -> Item:
    *before, last = common["messages"]
    if last["role"] != "assistant" or not before:
        return NewPrompt(**common, answer=fields.optional(row, "answer").strip())
    asked, model = common | {"messages": before}, fields.optional(row, "model")
    if model and not common["judge"]:
        return NewAnswers(**asked, texts=(last["content"],), models=(model,))
    return NewDemonstration(**asked, text=last["content"], model=model)
