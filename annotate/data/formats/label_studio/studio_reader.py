"""Label Studio's JSON export: tasks of `data` and `annotations`, each of `result`s by one person (`completed_by`).

What is read of a result, by its type:

    pairwise             selected left or right: a comparison
    choices, two answers a choice that names one, or a tie: a comparison
    choices, one answer  good or bad, up or down: thumbs; a flag where it is called flag, as our own export has it
    rating, number       stars where it is called rating, stars or quality; strength; else the aspect of that name
    textarea             a comment where it is called so, else a written answer: an edit where there is one answer
    ranker               a ranking of `items`, or of the answers
    labels               marked spans

Cancelled annotations, drafts and other types are passed over. A task that nobody has done yet has answers to be
annotated, or none; a text that a model predicts is one of them, and other predictions are passed over. Pure: no
Django.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
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

NAME = "label-studio"
STRENGTH, AUTHOR = "strength", "author"
_MODELS = ("model", "model_a", "model_b", "models")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
_KEPT_OF_ANNOTATION = ("id", "ground_truth", "unique_id")
_TASK = {"id", "data", "meta", "predictions", "annotations", "completions", "drafts", "inner_id"}
_SHORT = {"annotation_id", "annotator"}


def fits(row: Row) -> bool:
    if row.keys() >= _SHORT:
        return True  # to be told how it can be read
    is_task = "annotations" in row or "completions" in row or "predictions" in row or row.keys() <= _TASK
    return isinstance(fields.parsed(row.get("data")), dict) and is_task


def read(row: Row, line: int) -> list[Item]:
    if row.keys() >= _SHORT and "data" not in row:
        raise ValueError(
            "is from Label Studio's short export (JSON-MIN, CSV or TSV), which does not separate data and annotations; "
            "export the project as JSON."
        )
    row = row | {name: fields.parsed(row.get(name)) for name in ("data", "annotations", "completions")}
    data = row["data"]
    if not isinstance(data, dict):
        raise ValueError("has no data field, so it is not a task of Label Studio.")
    data, items = _listed(data)
    task = guessing.task(data) if not items else _with_items(data, items)
    common: Row = {"messages": task.messages, "source_id": fields.optional(row, "id"), "format": NAME}
    common |= {"category": fields.optional(data, "category"), "language": fields.optional(data, "language")}
    extra = _rest_of_task(row, task, items)
    models = {name: data[name] for name in _MODELS if data.get(name)}
    given = row["annotations"] or row["completions"] or []
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise ValueError(f"has annotations that are not a list of objects: {given!r:.60}.")
    annotations = [one for one in given if not (one.get("was_cancelled") or one.get("skipped"))]
    read_items = [
        _of_models(item, models, task)
        for annotation in annotations
        for item in _annotation(annotation, task, common, extra)
    ]
    if not annotations:
        return [unjudged.answers_or_prompt(task, data, _predicted(row), **common, extra=extra)]
    if not read_items:
        raise ValueError(f"has {len(annotations)} annotations, but none has a result that can be imported.")
    return read_items


def _predicted(row: Row) -> list[tuple[str, str]]:
    """Return (text, model) of each answer that a model predicts: what it wrote in a field that is no comment."""
    predictions = fields.parsed(row.get("predictions"))
    return [
        (text, fields.optional(prediction, "model_version"))
        for prediction in (predictions if isinstance(predictions, list) else [])
        if isinstance(prediction, dict)
        for result in _results_of(prediction)
        if result.get("type") == "textarea" and not _is_comment(result)
        for text in _texts(result)
    ]


def _listed(data: Row) -> tuple[Row, list[Row]]:
    """Return the items of a List tag, and the rest."""
    for name, value in data.items():
        if isinstance(value, list) and value and all(isinstance(v, dict) and "id" in v for v in value):
            return {other: v for other, v in data.items() if other != name}, value
    return data, []


def _with_items(data: Row, items: list[Row]) -> guessing.Task:
    task = guessing.task(data)
    texts = tuple(str(item.get("body") or item.get("text") or item.get("title") or "") for item in items)
    return replace(task, answers=tuple(str(item["id"]) for item in items), texts=texts)


def _rest_of_task(row: Row, task: guessing.Task, items: list[Row]) -> Row:
    used = {task.prompt, *task.answers, "category", "language", *_MODELS}
    used |= {name for name, value in row["data"].items() if items and value is items}
    data = {name: value for name, value in row["data"].items() if name not in used}
    return {"data": data} if data else {}


def _annotation(annotation: Row, task: guessing.Task, common: Row, extra: Row) -> list[Item]:
    by = {
        **common,
        "judge": _person(annotation.get("completed_by")) or fields.optional(annotation, AUTHOR),
        "created_at": fields.moment(annotation.get("created_at")),
        "seconds": fields.number(annotation, "lead_time"),
    }
    kept_fields = {name: annotation[name] for name in _KEPT_OF_ANNOTATION if annotation.get(name) not in (None, False)}
    results = _results_of(annotation)
    by |= {
        "extra": extra | ({"annotation": kept_fields} if kept_fields else {}),
        "comment": "\n".join(_comments(results)),
    }
    items: list[Item] = []
    for result in results:
        items += _result(result, task, by)
    strength = next((n for result in results if (n := _strength(result)) is not None), None)
    annotation_items = _ratings(results, task, by) + items
    return [replace(item, strength=strength) if isinstance(item, NewComparison) else item for item in annotation_items]


def _results_of(annotation: Row) -> list[Row]:
    """Return the rows that have the shape of one; each value an object."""
    listed = annotation.get("result")
    results = [result for result in listed if isinstance(result, dict)] if isinstance(listed, list) else []
    return [result for result in results if isinstance(result.get("value"), dict)]


def _strength(result: Row) -> int | None:
    value = result["value"]
    steps = {STRENGTH: value.get("rating", value.get("number"))}
    return fields.whole(steps, STRENGTH, 1, 3) if _name(result) == STRENGTH else None


def _of_models(item: Item, models: Row, task: guessing.Task) -> Item:
    match item:
        case NewComparison():
            model_a, model_b = (str(models.get(name, "")) for name in ("model_a", "model_b"))
            return replace(item, model_a=model_a, model_b=model_b)
        case NewRanking() if isinstance(models.get("models"), list) and len(models["models"]) == len(item.texts):
            return replace(item, models=tuple(str(name) for name in models["models"]))
        case NewRating() | NewSpan() | NewFlag() | NewDemonstration() if "model" in models:
            return replace(item, model=str(models["model"]))
        case NewRating() | NewSpan() | NewFlag() if item.text in task.texts[:2]:
            return replace(item, model=str(models.get(("model_a", "model_b")[task.texts.index(item.text)], "")))
    return item


def _person(value: Any) -> str:
    """Return the annotator: a number, or who it is, by mail, else by name."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("username") or value.get("id")
    return "" if value is None else str(value)


def _comments(results: Iterable[Row]) -> list[str]:
    return [text for result in results if _is_comment(result) for text in _texts(result)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _is_comment(result: Row) -> bool:
    return result.get("type") == "textarea" and guessing.is_comment(_name(result))


def _name(result: Row) -> str:
    return str(result.get("from_name", ""))


def _texts(result: Row) -> list[str]:
    value = result["value"].get("text")
    return [str(text) for text in value] if isinstance(value, list) else [str(value)] if value else []


def _result(result: Row, task: guessing.Task, by: Row) -> list[Item]:
    value = result["value"]
    kind = result.get("type")
    if kind == "pairwise" and value.get("selected"):
        return [_comparison(value["selected"], task, by)]
    if kind == "choices":
        return [item for choice in _list(value.get("choices")) for item in _choice(result, choice, task, by)]
    if kind == "textarea" and not _is_comment(result):
        edited = task.texts[0] if len(task.texts) == 1 else None
        return [NewDemonstration(**by, text=text, edited_from=edited) for text in _texts(result)]
    if kind == "ranker":
        return [_ranking(value.get("ranker"), task, by)]
    if kind in ("labels", "hypertextlabels"):
        return _spans(result, task, by)
    return []


def _choice(result: Row, choice: Any, task: guessing.Task, by: Row) -> list[Item]:
    if _is_flag(_name(result)):
        is_of_prompt = not task.texts or result.get("to_name") == task.prompt
        text = None if is_of_prompt else task.texts[task.place(result.get("to_name")) or 0]
        return [NewFlag(**by, reason=str(choice), text=text)]
    return [_comparison(choice, task, by)] if len(task.texts) > 1 and _is_winner(choice, task) else []


def _is_flag(name: str) -> bool:
    """Return whether a name is a flag's as our own export calls it. Choices of other names, such as issue_type, are
    part of a task's own question."""
    return name.lower() == "flag"


def _is_winner(choice: Any, task: guessing.Task) -> bool:
    try:
        return bool(_winner(choice, task))
    except ValueError:
        return False


def _winner(choice: Any, task: guessing.Task) -> str:
    place = task.place(choice)
    return ("model_a", "model_b")[place] if place in (0, 1) else fields.winner(choice, "choice")


def _comparison(choice: Any, task: guessing.Task, by: Row) -> Item:
    if len(task.texts) < 2:
        raise ValueError("compares answers, but its data have no two answers such as response_a and response_b.")
    return NewComparison(**by, a=task.texts[0], b=task.texts[1], winner=_winner(choice, task))


def _ratings(results: Sequence[Row], task: guessing.Task, by: Row) -> list[Item]:
    """Return all ratings and thumbs of one answer as one item."""
    rows: dict[int, Row] = defaultdict(dict)
    for result in results:
        for name, value in _rates(result, task).items():
            if name == "aspects":
                rows[_place(result, task)].setdefault("aspects", {}).update(value)
            else:
                rows[_place(result, task)][name] = value
    if rows and not task.texts:
        raise ValueError("rates an answer, but its data have no answer such as response or completion.")
    return [NewRating(**by, text=task.texts[place], **marks) for place, marks in sorted(rows.items())]


def _place(result: Row, task: guessing.Task) -> int:
    return task.place(result.get("to_name")) or 0


def _rates(result: Row, task: guessing.Task) -> Row:
    value, name = result["value"], _name(result)
    if result.get("type") in ("rating", "number") and name != STRENGTH:
        return guessing.step(name, value.get("rating", value.get("number")))
    if result.get("type") == "choices" and len(task.texts) < 2 and not _is_flag(name):
        thumbs_values = [
            thumbs for choice in _list(value.get("choices")) if (thumbs := guessing.thumbs(choice)) is not None
        ]
        return {"thumbs": thumbs_values[0]} if thumbs_values else {}
    return {}


def _ranking(value: Any, task: guessing.Task, by: Row) -> Item:
    """Read an order of ids, best first, alone or under its control's name; or buckets, in which those of one are equal,
    in their order. What was left in the list, `_`, is not ranked."""
    if isinstance(value, dict):
        value = {name: group for name, group in value.items() if name != "_"} or value
    if isinstance(value, dict) and len(value) == 1 and not str(next(iter(value))).isdigit():
        value = _list(next(iter(value.values())))
    buckets = [_list(group) for group in value.values()] if isinstance(value, dict) else []
    groups = [[one] for one in value] if isinstance(value, list) else buckets
    order = []
    for group in groups:
        places = [task.answers.index(str(one)) if str(one) in task.answers else task.place(one) for one in group]
        known_places = [place for place in places if place is not None]
        if len(known_places) < len(places):
            raise ValueError(f"ranks {group!r:.60}, which is not in its data.")
        order += [tuple(known_places)] if known_places else []
    placed = [place for group in order for place in group]
    if len(placed) < 2 or len(set(placed)) != len(placed):
        raise ValueError("ranks fewer than two answers, or one twice.")
    texts = tuple(task.texts[place] for place in sorted(placed))
    renumbered = {place: i for i, place in enumerate(sorted(placed))}
    return NewRanking(**by, texts=texts, order=tuple(tuple(renumbered[p] for p in group) for group in order))


def _spans(result: Row, task: guessing.Task, by: Row) -> list[Item]:
    value = result["value"]
    place = task.place(result.get("to_name")) or 0
    start, end = value.get("start"), value.get("end")
    if place >= len(task.texts) or not isinstance(start, int) or not isinstance(end, int):
        return []
    labels = _list(value.get("labels") or value.get("hypertextlabels"))
    return [NewSpan(**by, text=task.texts[place], start=start, end=end, label=str(label)) for label in labels]
