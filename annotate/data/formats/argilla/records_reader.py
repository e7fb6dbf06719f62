"""Read Argilla's records: flat, as `records.to_list(flatten=True)`, CSV and Parquet have them; nested; or of
Argilla 1.

    {"id", "prompt", "response_1", "response_2", "preference.responses": ["response_1"], "preference.responses.users":
     ["…"], "preference.responses.status": ["submitted"], …}

People name fields and questions as they like; guessing.py says which fields are the question and the answers. What a
response means follows from its value: a field's name or a tie is a comparison, a list of fields a ranking, up or down
thumbs, a number stars or the aspect of the question's name (`rating_2` of the second answer), a text a comment where
the question is called so and else a written answer, a list with start and end spans. Only submitted responses count.
A record without responses has answers that nobody judged yet; a text that a model suggests is one of them, and other
suggestions are passed over. Pure: no Django.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annotate.data.formats import fields, guessing, unjudged
from annotate.data.formats.items import (
    Item,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewRanking,
    NewRating,
    NewSpan,
    Row,
)

NAME = "argilla"
RESPONSES = ".responses"
_SUGGESTION = ".suggestion"
_OURS = ("category", "language", "model", "model_1", "model_2", "models")
_RECORD = ("id", "_server_id", "status", "inserted_at", "updated_at", "external_id")
_PLACE = re.compile(r"(.*?)[\s_-]+(?:response[\s_-]*)?([1-9])$")


@dataclass(frozen=True)
class Response:
    """One response; `nth` distinguishes two that one person gave to one question."""

    question: str
    value: Any
    user: str
    nth: int


def fits(row: Row) -> bool:
    flat = any(name.endswith(RESPONSES) for name in row)
    return flat or (isinstance(row.get("fields"), dict) and "responses" in row) or bool(_questions_of_1(row))


def read(row: Row, line: int) -> list[Item]:
    data = _data(row)
    task = guessing.task(data)
    common: Row = {
        "messages": task.messages, "format": NAME, "source_id": fields.optional(row, "id"),
        "category": fields.optional(data, "category"), "language": fields.optional(data, "language"),
        "extra": {n: v for n, v in data.items() if n not in (task.prompt, *task.answers, *_OURS) and v is not None},
    }  # fmt: skip
    by_person: dict[tuple[str, int], list[Response]] = defaultdict(list)
    for response in _responses(row):
        by_person[response.user, response.nth].append(response)
    items = [item for (user, _), responses in by_person.items() for item in _person(user, responses, task, common)]
    if by_person and not items:
        raise ValueError(
            f"has responses to {', '.join(sorted({s.question for s in _responses(row)}))}: none of them can be "
            "imported."
        )
    if items:
        return [_of_models(item, data, task) for item in items]
    return [unjudged.answers_or_prompt(task, data, _suggested(row), **common)]


def _data(row: Row) -> Row:
    """Return the record's fields and metadata, wherever they stand."""
    if isinstance(row.get("fields"), dict):
        return row["fields"] | (row.get("metadata") or {})
    left_out = {*_RECORD, *_questions_of_1(row)}
    return {n: v for n, v in row.items() if "." not in n and n not in left_out} | {
        name.removeprefix("metadata."): value for name, value in row.items() if name.startswith("metadata.")
    }


def _suggested(row: Row) -> list[tuple[str, str]]:
    """Return (text, agent) of each answer that a model suggests: of questions of text that are no comment."""
    nested = row.get("suggestions")
    if isinstance(nested, dict):
        told = [(name, one.get("value"), one.get("agent")) for name, one in nested.items() if isinstance(one, dict)]
    else:
        names = [name.removesuffix(_SUGGESTION) for name in row if name.endswith(_SUGGESTION)]
        told = [(name, row[f"{name}{_SUGGESTION}"], row.get(f"{name}{_SUGGESTION}.agent")) for name in names]
    return [
        (value, str(agent or ""))
        for name, value, agent in told
        if isinstance(value, str) and guessing.is_answer(name) and not guessing.is_comment(name)
    ]


def _questions_of_1(row: Row) -> list[str]:
    """Read Argilla 1's data sets: a column of [{"user_id", "value", "status"}] for each question."""
    return [name for name, value in row.items() if _is_answered(fields.parsed(value))]


def _is_answered(value: Any) -> bool:
    is_list = isinstance(value, list) and bool(value)
    return is_list and all(isinstance(v, dict) and {"user_id", "value"} <= set(v) for v in value)


def _responses(row: Row) -> Iterator[Response]:
    count_by_key: dict[tuple[str, str], int] = defaultdict(int)
    for question, value, user, status in _all_responses(row):
        if value is not None and status in (None, "", "submitted"):
            count_by_key[question, user] += 1
            yield Response(question, value, user, count_by_key[question, user])


def _all_responses(row: Row) -> Iterator[tuple[str, Any, str, Any]]:
    if isinstance(row.get("responses"), dict):
        for question, responses in row["responses"].items():
            yield from (
                (question, r.get("value"), str(r.get("user_id") or ""), r.get("status")) for r in responses or []
            )
        return
    for name in row:
        if name.endswith(RESPONSES):
            values, users, statuses = (_list(row.get(f"{name}{end}")) for end in ("", ".users", ".status"))
            for index, value in enumerate(values):
                user = users[index] if index < len(users) else ""
                yield name.removesuffix(RESPONSES), value, str(user or ""), (statuses[index : index + 1] or [None])[0]
    for question in _questions_of_1(row):
        for responses in fields.parsed(row[question]):
            yield question, responses["value"], str(responses.get("user_id") or ""), responses.get("status")


def _list(value: Any) -> list[Any]:
    parsed = fields.parsed(value)
    return parsed if isinstance(parsed, list) else [] if parsed is None else [parsed]


def _person(user: str, responses: Sequence[Response], task: guessing.Task, common: Row) -> list[Item]:
    """Return what one person annotated of a record."""
    comments = [str(s.value) for s in responses if guessing.is_comment(s.question) and isinstance(s.value, str)]
    by = common | {"judge": user, "comment": "\n".join(comments)}
    marks_by_index: dict[int, Row] = defaultdict(dict)
    items: list[Item] = []
    strength = None
    for response in responses:
        if response.question == "strength":
            strength = fields.whole({"strength": response.value}, "strength", 1, 3)
        elif rates := _rates(response, task):
            index, marks = rates
            aspects = marks_by_index[index].get("aspects", {}) | marks.get("aspects", {})
            marks_by_index[index] |= marks | ({"aspects": aspects} if aspects else {})
        elif not guessing.is_comment(response.question):
            items += _judgement(response, task, by)
    if marks_by_index and not task.texts:
        raise ValueError("rates an answer, but has no answer such as response or completion.")
    items = [replace(item, strength=strength) if isinstance(item, NewComparison) else item for item in items]
    return [
        *(NewRating(**by, text=task.texts[place], **marks) for place, marks in sorted(marks_by_index.items())),
        *items,
    ]


def asked(question: str, answers: int) -> str:
    """Return what a question asks, without the number of the answer: `rating` for `rating_2` where there are two."""
    return _asked_of(question, answers)[0]


def _asked_of(question: str, answers: int) -> tuple[str, int]:
    """Return what a question asks, and the index of the answer of which it asks that."""
    match = _PLACE.fullmatch(question)
    return (match[1], int(match[2]) - 1) if match and int(match[2]) <= answers else (question, 0)


def _rates(response: Response, task: guessing.Task) -> tuple[int, Row] | None:
    """Return which answer is rated, and how; None where this is no rating."""
    name, index = _asked_of(response.question, len(task.texts))
    if isinstance(response.value, int | float) and not isinstance(response.value, bool):
        return index, guessing.step(name, response.value)
    if len(task.texts) < 2 and isinstance(response.value, str | bool) and not guessing.is_flag(name):
        thumbs = guessing.thumbs(response.value) if task.texts and not _is_written(response) else None
        return None if thumbs is None else (index, {"thumbs": thumbs})
    return None


def _is_written(response: Response) -> bool:
    return response.question in ("answer", "edit", "correction")


def _judgement(response: Response, task: guessing.Task, by: Row) -> list[Item]:
    value = fields.parsed(response.value)
    if isinstance(value, list) and value and all(isinstance(v, dict) and "start" in v for v in value):
        return [_span(v, task, by) for v in value] if task.texts else []
    if guessing.is_flag(response.question):
        reasons = value if isinstance(value, list) else [value]
        text = task.texts[0] if task.texts and response.question != "flag_prompt" else None
        return [NewFlag(**by, reason=str(reason), text=text) for reason in reasons]
    if isinstance(value, list):
        return _ranking(value, task, by)
    if not isinstance(response.value, str):
        return []
    if len(task.texts) > 1 and not _is_written(response):
        winner = _winner(response.value, task)
        return [NewComparison(**by, a=task.texts[0], b=task.texts[1], winner=winner)] if winner else []
    return [NewDemonstration(**by, text=response.value, edited_from=task.texts[0] if len(task.texts) == 1 else None)]


def _winner(value: str, task: guessing.Task) -> str:
    index = task.place(value)
    if index in (0, 1):
        return ("model_a", "model_b")[index]
    try:
        return fields.winner(value)
    except ValueError:
        return ""


def _span(value: Row, task: guessing.Task, by: Row) -> Item:
    return NewSpan(**by, text=task.texts[0], start=value["start"], end=value["end"], label=str(value.get("label")))


def _ranking(value: list[Any], task: guessing.Task, by: Row) -> list[Item]:
    """Return a ranking from names of fields, best first, or {"value", "rank"} with equal ranks for equals."""
    ranks = {str(v["value"]): v.get("rank") for v in value if isinstance(v, dict) and "value" in v} or {
        str(v): rank for rank, v in enumerate(value, start=1)
    }
    index_by_name = {name: task.place(name) for name in ranks}
    if None in index_by_name.values() or len(index_by_name) < 2 or None in ranks.values():
        return []
    if not all(type(rank) in (int, float) for rank in ranks.values()):
        raise ValueError(f"has a ranking whose ranks are not numbers: {list(ranks.values())!r:.60}.")
    groups: dict[Any, list[int]] = defaultdict(list)
    indices = sorted(p for p in index_by_name.values() if p is not None)
    for name, rank in ranks.items():
        groups[rank].append(indices.index(index_by_name[name]))  # type: ignore[arg-type]
    order = tuple(tuple(groups[rank]) for rank in sorted(groups))
    return [NewRanking(**by, texts=tuple(task.texts[index] for index in indices), order=order)]


def _of_models(item: Item, data: Row, task: guessing.Task) -> Item:
    model_a, model_b, model = (fields.optional(data, name) for name in ("model_1", "model_2", "model"))
    match item:
        case NewComparison():
            return replace(item, model_a=model_a, model_b=model_b)
        case NewRanking():
            models = fields.parsed(data.get("models"))
            named = isinstance(models, list) and len(models) == len(item.texts)
            return replace(item, models=tuple(map(str, models))) if named else item
        case NewRating() | NewSpan() | NewFlag() if not model and item.text in task.texts[:2]:
            return replace(item, model=(model_a, model_b)[task.texts.index(item.text)])
        case NewRating() | NewSpan() | NewFlag() | NewDemonstration():
            return replace(item, model=model)
    return item
