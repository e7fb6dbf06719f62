"""Tasks that Label Studio reads, with the form that shows what was said: one for each item."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from annotate.data.formats import guessing
from annotate.data.formats.items import (
    Item,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewPrompt,
    NewRanking,
    NewRating,
    NewSpan,
    Row,
)
from annotate.data.formats.label_studio.studio_reader import AUTHOR, LETTERS, NAME, STRENGTH


def write(items: Sequence[Item]) -> list[Row]:
    """Return a task for each set of answers that was judged, with an annotation for each who judged it."""
    tasks: dict[tuple, list[Item]] = defaultdict(list)
    for item in items:
        if not isinstance(item, NewAttack):
            tasks[_key(item)].append(item)
    return [_task(task_items) for task_items in tasks.values()]


def _key(item: Item) -> tuple:
    turns = tuple((turn["role"], turn["content"]) for turn in item.messages)
    own_data = str(item.extra.get("data", "")) if item.format == NAME else ""
    return turns, str(_data(item)), item.source_id, item.category, item.language, own_data


def _data(item: Any) -> Row:
    """Return the answers that an item speaks of, and their models. A rating says nothing of other answers."""
    named: Row
    match item:
        case NewComparison():
            named = {"response_a": item.a, "response_b": item.b, "model_a": item.model_a, "model_b": item.model_b}
        case NewRanking():
            listed = [{"id": f"response_{LETTERS[i]}", "body": text} for i, text in enumerate(item.texts)]
            named = {"items": listed, "models": list(item.models)}
        case NewDemonstration():
            named = {"response": item.edited_from, "model": item.model}
        case NewRating() | NewSpan() | NewFlag():
            named = {"response": item.text, "model": item.model}
        case _:
            return {}
    return {name: value for name, value in named.items() if value or (name.startswith("response") and value == "")}


def _task(items: Sequence[Item]) -> Row:
    first = items[0]
    one = len(first.messages) == 1 and first.messages[0]["role"] == "user"
    question = {"prompt": first.messages[0]["content"]} if one else {"messages": first.messages}
    labels = {name: getattr(first, name) for name in ("category", "language") if getattr(first, name)}
    more = first.extra.get("data", {}) if first.format == NAME else {}
    row = {"data": question | _data(first) | labels | more, "annotations": _annotations(items)}
    return ({"id": first.source_id} if first.source_id else {}) | row


def _annotations(items: Sequence[Item]) -> list[Row]:
    """Return what one person said at one time as one annotation; a prompt without an answer has none."""
    by_person: dict[tuple, list[Item]] = defaultdict(list)
    for item in items:
        if not isinstance(item, NewPrompt):
            # Two of one kind would be read as one.
            n = sum(isinstance(other, type(item)) for other in items[: items.index(item)])
            by_person[item.judge, item.created_at, item.seconds, item.comment, str(_own_annotation(item)), n].append(
                item
            )
    return [_annotated(person_items) for person_items in by_person.values()]


def _own_annotation(item: Item) -> Row:
    return item.extra.get("annotation", {}) if item.format == NAME else {}


def _annotated(items: Sequence[Item]) -> Row:
    first = items[0]
    results = [result for item in items for result in _results(item)]
    if first.comment:
        results.append(_result("comment", "prompt", "textarea", {"text": [first.comment]}))
    row: Row = {**_by_whom(first), "result": results, "was_cancelled": False, "ground_truth": False}
    if first.created_at:
        row["created_at"] = first.created_at.isoformat()
    if first.seconds is not None:
        row["lead_time"] = first.seconds
    return row | _own_annotation(first)


def _by_whom(item: Item) -> Row:
    """It takes the number or the mail of one of its own people, who are those that it named itself, and refuses the
    whole file for any other: those then belong to whoever imports, and their name stands beside."""
    if item.format == NAME and item.judge.isascii() and item.judge.isdigit():
        return {"completed_by": int(item.judge)}
    if item.format == NAME and "@" in item.judge:
        return {"completed_by": {"email": item.judge}}
    return {AUTHOR: item.judge} if item.judge else {}


def _results(item: Any) -> list[Row]:
    match item:
        case NewComparison():
            return [_compared(item)] + ([_rating_of(STRENGTH, item.strength)] if item.strength else [])
        case NewRating():
            return _rating(item)
        case NewRanking():
            groups = [[f"response_{LETTERS[place]}" for place in group] for group in item.order]
            alone = all(len(group) == 1 for group in groups)
            value: Any = [group[0] for group in groups] if alone else {f"{i}": g for i, g in enumerate(groups, 1)}
            return [_result("ranking", "items", "ranker", {"ranker": value})]
        case NewDemonstration():
            return [_result("answer", "response", "textarea", {"text": [item.text]})]
        case NewFlag():
            to = "prompt" if item.text is None else "response"
            return [_result("flag", to, "choices", {"choices": [item.reason]})]
        case NewSpan():
            value = {"start": item.start, "end": item.end, "text": item.text[item.start : item.end]}
            return [_result("label", "response", "labels", value | {"labels": [item.label]})]
    return []


def _compared(item: NewComparison) -> Row:
    if item.winner in ("model_a", "model_b"):
        chosen = "left" if item.winner == "model_a" else "right"
        return _result("comparison", "response_a,response_b", "pairwise", {"selected": chosen})
    return _result("comparison", "response_a,response_b", "choices", {"choices": [item.winner]})


def _rating(item: NewRating) -> list[Row]:
    results = []
    if item.thumbs is not None:
        results.append(_result("thumbs", "response", "choices", {"choices": ["up" if item.thumbs else "down"]}))
    if item.stars is not None:
        results.append(_rating_of("stars", item.stars))
    return results + [_rating_of(guessing.step_name(name), steps) for name, steps in item.aspects.items()]


def _rating_of(name: str, steps: int) -> Row:
    return _result(name, "response", "rating", {"rating": steps})


def _result(name: str, to: str, kind: str, value: Row) -> Row:
    return {"from_name": name, "to_name": to, "type": kind, "value": value}
