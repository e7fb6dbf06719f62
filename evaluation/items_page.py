"""The items of an evaluation run: what was asked, what the model said or found likeliest, and what was right."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from annotate.permissions import Person, can
from annotate.streaming import json_lines
from evaluation import figures_shown, items
from evaluation.items import NO, UNKNOWN, YES, Choice, Index
from training.models import Run
from training.views.runs import find_run

PER_PAGE = 20
ORDERS = {"": "as measured", "worst": "worst first", "best": "best first"}
_WHICH = {"yes": YES, "no": NO, "unknown": UNKNOWN}


@dataclass(frozen=True)
class Candidate:
    text: str
    logprob: str
    is_right: bool
    is_chosen: bool


@dataclass(frozen=True)
class Item:
    """One item as a page shows it. What its measure tells beyond these fields is in `facts`."""

    place: int
    id: str
    group: str
    right: int
    seen: int
    seen_in: list[str]
    values: list[tuple[str, str]]
    turns: list[dict[str, str]] = field(default_factory=list)
    candidates: list[Candidate] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)  # heading and text
    references: list[str] = field(default_factory=list)
    text: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)


@require_safe
def page(request: HttpRequest, run_id: int) -> HttpResponse:
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    index = _index(run)
    choice = _choice(request, index)
    places = items.chosen(index, choice)
    shown = Paginator(places, PER_PAGE).get_page(request.GET.get("page"))
    texts = may_read_texts(request.user, run)
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "project": run.project,
        "section": "evaluations",
        "run": run,
        "index": index,
        "choice": request.GET,
        "orders": ORDERS,
        "page": shown,
        "query": query.urlencode(),
        "items": list(_items(run, index, shown, texts)),
        "texts": texts,
        "has_seen": bool((index.seen == YES).any()),
        "is_marked": bool((index.seen != UNKNOWN).any()),
        "total": len(index),
    }
    return render(request, "evaluation/items.html", context)


@require_safe
def download(request: HttpRequest, run_id: int, format: str) -> HttpResponseBase:
    """All items, as they lie on the disk or as a table of their values; texts for those who may read them."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    index = _index(run)
    name = f"run-{run.pk}-items.{format}"
    texts = may_read_texts(request.user, run)
    if format == "jsonl":
        rows = (told(row, texts) for row in items.read_all(run.path))
        return json_lines(request, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows), name=name)
    response = json_lines(request, _csv(run, index, texts), name=name)
    response["Content-Type"] = "text/csv; charset=utf-8"
    return response


def may_read_texts(person: Person, run: Run) -> bool:
    """Rows of a dataset and prompts of the eval side are for those who may review; the suite is everybody's."""
    is_public = run.config.get("measure") == "choices" and run.other_dataset_id is None
    return is_public or can(person, "review", run.project)


def told(row: items.Row, texts: bool) -> items.Row:
    """As this asker may see it."""
    return row if texts else {**row, "shown": None}


def _index(run: Run) -> Index:
    index = items.index_of(run.path)
    if index is None:
        raise Http404("This run has left no items.")
    return index


def _choice(request: HttpRequest, index: Index) -> Choice:
    """What was asked for; what there is not is passed over."""
    asked = request.GET
    order = asked.get("order", "")
    return Choice(
        group=asked.get("group", ""),
        right=_WHICH.get(asked.get("right", "")),
        seen=_WHICH.get(asked.get("seen", "")),
        order=order if order in ORDERS and index.metric else "",
    )


def _items(run: Run, index: Index, page: Page, texts: bool) -> Iterator[Item]:
    places = np.asarray(page.object_list)
    for place, row in zip(places, items.read(run.path, index, places), strict=True):
        yield shown(row, int(place), index, texts)


def shown(row: items.Row, place: int, index: Index, texts: bool) -> Item:
    parts = _parts(dict(row.get("shown") or {})) if texts else {}
    right = int(index.right[place])
    return Item(
        place=place + 1,
        id=str(row["id"]),
        group=row.get("group", ""),
        right=right,
        seen=int(index.seen[place]),
        seen_in=row.get("seen_in") or [],
        values=_values(row["counts"], right),
        **parts,
    )


def _values(counts: dict[str, list[float]], right: int) -> list[tuple[str, str]]:
    """Each metric for this item alone, where it has such a value. What is right or wrong has a mark of its own; other
    ways of counting the same are told where they say otherwise."""
    found = []
    for name, sums in counts.items():
        value = items.value_of(name, sums)
        if value is None or (name.startswith("accuracy") and value == right):
            continue
        if name.startswith("accuracy") and value in (0, 1):
            found.append((name, "right" if value else "wrong"))
        else:
            found.append((name, figures_shown.shown(name, value, None, None, n=1, higher_is_better=None).text))
    return found


def _parts(shown: dict[str, Any]) -> dict[str, Any]:
    """What measures tell in the same words; the rest as facts."""
    asked = shown.pop("prompt", None) or shown.pop("context", None)
    parts: dict[str, Any] = {
        "turns": _turns(asked),
        "references": [str(text) for text in shown.pop("references", None) or []],
        "text": str(shown.pop("text", "") or ""),
    }
    if isinstance(shown.get("candidates"), list):
        parts["candidates"] = _candidates(shown)
    if "label" in shown:  # a classifier's answer is a word, and no text to read
        shown = {"right label": shown.pop("label"), "its label": shown.pop("answer", ""), **shown}
    parts["answers"] = [(told, str(shown.pop(name))) for name, told in _ANSWERS.items() if name in shown]
    left = [(name, value) for name, value in shown.items() if value is not None and value != ""]
    parts["facts"] = [(name.replace("_", " "), _said(value)) for name, value in left]
    return parts


_ANSWERS = {
    "answer": "its answer",
    "other": "the opponent’s answer",
    "chosen": "the judges’ choice",
    "rejected": "the other answer",
}


def _turns(asked: Any) -> list[dict[str, str]]:
    if isinstance(asked, list):
        return [{"role": str(turn.get("role", "")), "content": str(turn.get("content", ""))} for turn in asked]
    return [{"role": "", "content": str(asked)}] if asked else []


def _candidates(shown: dict[str, Any]) -> list[Candidate]:
    """Each with its log-probability. `right` and `answer` are texts; several that are right are parted by a slash."""
    texts, right = [str(text) for text in shown.pop("candidates")], str(shown.pop("right", ""))
    chosen, logprobs = shown.pop("answer", None), shown.pop("log-probabilities", None) or [None] * len(texts)
    all_right = {right} if right in texts else set(right.split(" / "))
    return [
        Candidate(
            text, "" if logprob is None else f"{logprob:.2f}".replace("-", "−"), text in all_right, text == chosen
        )
        for text, logprob in zip(texts, logprobs, strict=True)
    ]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", "−")
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_said(inner)}" for name, inner in value.items())
    return str(value)


def _csv(run: Run, index: Index, texts: bool) -> Iterator[str]:
    """One line for each item: its values, and its texts in columns of their own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    columns = ["id", "group", "contaminated", *index.metrics, *(("shown",) if texts else ())]
    writer.writerow(columns)
    for row in items.read_all(run.path):
        values = [items.value_of(name, row["counts"][name]) for name in index.metrics]
        told = [json.dumps(row.get("shown"), ensure_ascii=False)] if texts else []
        writer.writerow([_cell(row["id"]), _cell(row.get("group", "")), row.get("contaminated"), *values, *told])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _cell(text: Any) -> str:
    """A spreadsheet takes a text that begins like a formula for one."""
    return f"'{text}" if str(text)[:1] in "=+-@\t\r" else str(text)
