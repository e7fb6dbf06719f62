"""Read and write Argilla's records: flat, as `records.to_list(flatten=True)`, CSV and Parquet have them; nested; or of
Argilla 1.

    {"id", "prompt", "response_1", "response_2", "preference.responses": ["response_1"], "preference.responses.users":
     ["…"], "preference.responses.status": ["submitted"], …}

People name fields and questions as they like; guessing.py says which fields are the question and the answers. What a
response means follows from its value: a field's name or a tie is a comparison, a list of fields a ranking, up or down
thumbs, a number stars or the aspect of the question's name (`rating_2` of the second answer), a text a comment where
the question is called so and else a written answer, a list with start and end spans. Only submitted responses count;
suggestions are passed over. Pure: no Django.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from annotate.data.formats import fields, guessing
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

NAME = "argilla"
_RESPONSES = ".responses"
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
    flat = any(name.endswith(_RESPONSES) for name in row)
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
        raise ValueError(f"has responses to {', '.join(sorted({s.question for s in _responses(row)}))}: none is read.")
    return [_of_models(item, data) for item in items] or [NewPrompt(**common)]


def _data(row: Row) -> Row:
    """Return the record's fields and metadata, wherever they stand."""
    if isinstance(row.get("fields"), dict):
        return row["fields"] | (row.get("metadata") or {})
    return {n: v for n, v in row.items() if "." not in n and n not in _RECORD and n not in _questions_of_1(row)} | {
        name.removeprefix("metadata."): value for name, value in row.items() if name.startswith("metadata.")
    }


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
        if name.endswith(_RESPONSES):
            values, users, statuses = (_list(row.get(f"{name}{end}")) for end in ("", ".users", ".status"))
            for index, value in enumerate(values):
                user = users[index] if index < len(users) else ""
                yield name.removesuffix(_RESPONSES), value, str(user or ""), (statuses[index : index + 1] or [None])[0]
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
        raise ValueError("rates an answer, and has no field that is one, as response or completion.")
    items = [replace(item, strength=strength) if isinstance(item, NewComparison) else item for item in items]
    return [
        *(NewRating(**by, text=task.texts[place], **marks) for place, marks in sorted(marks_by_index.items())),
        *items,
    ]


def _rates(response: Response, task: guessing.Task) -> tuple[int, Row] | None:
    """Return which answer is rated, and how; None where this is no rating."""
    name, index = response.question, 0
    if (match := _PLACE.fullmatch(name)) and int(match[2]) <= len(task.texts):
        name, index = match[1], int(match[2]) - 1
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
        raise ValueError(f"has a ranking whose ranks are no numbers: {list(ranks.values())!r:.60}.")
    groups: dict[Any, list[int]] = defaultdict(list)
    indices = sorted(p for p in index_by_name.values() if p is not None)
    for name, rank in ranks.items():
        groups[rank].append(indices.index(index_by_name[name]))  # type: ignore[arg-type]
    order = tuple(tuple(groups[rank]) for rank in sorted(groups))
    return [NewRanking(**by, texts=tuple(task.texts[index] for index in indices), order=order)]


def _of_models(item: Item, data: Row) -> Item:
    model_a, model_b, model = (fields.optional(data, name) for name in ("model_1", "model_2", "model"))
    match item:
        case NewComparison():
            return replace(item, model_a=model_a, model_b=model_b)
        case NewRanking():
            models = fields.parsed(data.get("models"))
            named = isinstance(models, list) and len(models) == len(item.texts)
            return replace(item, models=tuple(map(str, models))) if named else item
        case NewRating() | NewSpan() | NewFlag() | NewDemonstration():
            return replace(item, model=model)
    return item


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
            name = f"{question}{_RESPONSES}"
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
