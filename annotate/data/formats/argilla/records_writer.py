"""Argilla's records, flat, for what was annotated: one for each set of answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from annotate.data.formats import guessing
from annotate.data.formats.argilla.records_reader import NAME, RESPONSES
from annotate.data.formats.items import (
    Item,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewRanking,
    NewRating,
    NewSpan,
    Row,
)


def write(items: Sequence[Item]) -> list[Row]:
    """Return a record for each set of answers that was annotated."""
    records: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        if not isinstance(item, NewAttack):
            records[str(_fields(item))].append(item)
    return [_record(record_items) for record_items in records.values()]


def _fields(item: Any) -> Row:
    is_question = len(item.messages) == 1 and item.messages[0]["role"] == "user"
    row: Row = {"id": item.source_id} if item.source_id else {}
    row["prompt"] = item.messages[0]["content"] if is_question else item.messages
    columns: Row
    match item:
        case NewComparison():
            row |= {"response_1": item.a, "response_2": item.b}
            columns = {"model_1": item.model_a, "model_2": item.model_b}
        case NewRanking():
            row |= {f"response_{number}": text for number, text in enumerate(item.texts, start=1)}
            columns = {"models": list(item.models)}
        case NewDemonstration():
            row |= {} if item.edited_from is None else {"response": item.edited_from}
            columns = {"model": item.model}
        case NewRating() | NewSpan() | NewFlag():
            row |= {} if item.text is None else {"response": item.text}
            columns = {"model": item.model}
        case _:
            columns = {}
    columns |= {"category": item.category, "language": item.language}
    return row | {n: v for n, v in columns.items() if v} | (item.extra if item.format == NAME else {})


def _record(items: Sequence[Item]) -> Row:
    row = _fields(items[0])
    for item in items:
        for question, value in _annotations(item):
            name = f"{question}{RESPONSES}"
            row.setdefault(name, []).append(value)
            row.setdefault(f"{name}.users", []).append(item.judge)
            row.setdefault(f"{name}.status", []).append("submitted")
    return row


def _annotations(item: Any) -> list[tuple[str, Any]]:
    comment = [("comment", item.comment)] if item.comment else []
    match item:
        case NewComparison():
            preference = {"model_a": "response_1", "model_b": "response_2"}.get(item.winner, item.winner)
            strength = [("strength", item.strength)] if item.strength else []
            return [("preference", preference), *strength, *comment]
        case NewRating():
            thumbs = [] if item.thumbs is None else [("thumbs", "up" if item.thumbs else "down")]
            stars = [] if item.stars is None else [("rating", item.stars)]
            aspects = [(guessing.step_name(name), steps) for name, steps in item.aspects.items()]
            return [*thumbs, *stars, *aspects, *comment]
        case NewRanking():
            ranks = [
                {"value": f"response_{index + 1}", "rank": rank}
                for rank, group in enumerate(item.order, start=1)
                for index in group
            ]
            return [("ranking", ranks), *comment]
        case NewDemonstration():
            return [("answer", item.text), *comment]
        case NewFlag():
            return [("flag_prompt" if item.text is None else "flag", item.reason), *comment]
        case NewSpan():
            return [("span", [{"start": item.start, "end": item.end, "label": item.label}]), *comment]
    return []
