"""Show the items of an evaluation run: the prompt, what the model said or found likeliest, and what was right."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator

import numpy as np
from django.core.exceptions import PermissionDenied
from django.core.paginator import Page, Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from annotate.core.asgi.downloads import json_lines
from annotate.core.page_access import allows
from evaluation.core.csv_files import cell
from evaluation.measures import item_store as items
from evaluation.measures.item_store import NO, UNKNOWN, YES, Choice, Index
from evaluation.measures.present.shown_items import (
    BLIND,
    ORDERS,
    Item,
    may_read_figures,
    may_read_texts,
    row_for,
    shown,
)
from training.models import Run
from training.runs.access import find_run

PER_PAGE = 20
_WHICH = {"yes": YES, "no": NO, "unknown": UNKNOWN}


@allows(get="read")
def page(request: HttpRequest, run_id: int) -> HttpResponse:
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    index = _index(request, run)
    choice = _choice(request, index)
    indices = items.chosen(index, choice)
    page = Paginator(indices, PER_PAGE).get_page(request.GET.get("page"))
    texts = may_read_texts(request.user, run)
    query = request.GET.copy()
    query.pop("page", None)
    context = {
        "project": run.project,
        "run": run,
        "index": index,
        "choice": request.GET,
        "orders": ORDERS,
        "page": page,
        "query": query.urlencode(),
        "items": list(_items(run, index, page, texts)),
        "texts": texts,
        "has_seen": bool((index.seen == YES).any()),
        "is_marked": bool((index.seen != UNKNOWN).any()),
        "total": len(index),
    }
    return render(request, "evaluation/measures/items.html", context)


@allows(get="read")
def download(request: HttpRequest, run_id: int, format: str) -> HttpResponseBase:
    """Send all items, as they are on the disk or as a table of their values; texts for those who may read them."""
    run, refusal = find_run(request, run_id)
    if refusal:
        return refusal
    index = _index(request, run)
    name = f"run-{run.pk}-items.{format}"
    texts = may_read_texts(request.user, run)
    if format == "jsonl":
        rows = (row_for(row, texts) for row in items.read_all(run.path))
        return json_lines(request, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows), name=name)
    response = json_lines(request, _csv(run, index, texts), name=name)
    response["Content-Type"] = "text/csv; charset=utf-8"
    return response


def _index(request: HttpRequest, run: Run) -> Index:
    if not may_read_figures(request.user, run):
        raise PermissionDenied(BLIND)
    try:
        index = items.index_of(run.path)
    except items.Damaged as error:
        raise Http404(str(error)) from error
    if index is None:
        raise Http404("This run has no items.")
    return index


def _choice(request: HttpRequest, index: Index) -> Choice:
    """Return the choice of the address; unknown values are ignored."""
    query = request.GET
    order = query.get("order", "")
    return Choice(
        group=query.get("group", ""),
        right=_WHICH.get(query.get("right", "")),
        seen=_WHICH.get(query.get("seen", "")),
        order=order if order in ORDERS and index.metric else "",
    )


def _items(run: Run, index: Index, page: Page, texts: bool) -> Iterator[Item]:
    indices = np.asarray(page.object_list)
    for item_index, row in zip(indices, items.read(run.path, index, indices), strict=True):
        yield shown(row, int(item_index), index, texts)


def _csv(run: Run, index: Index, texts: bool) -> Iterator[str]:
    """Yield one line for each item: its values, and its texts in columns of their own."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    columns = ["id", "group", "contaminated", *index.metrics, *(("shown",) if texts else ())]
    writer.writerow(columns)
    for row in items.read_all(run.path):
        values = [items.value_of(name, row["counts"][name]) for name in index.metrics]
        text_columns = [json.dumps(row.get("shown"), ensure_ascii=False)] if texts else []
        writer.writerow([cell(row["id"]), cell(row.get("group", "")), row.get("contaminated"), *values, *text_columns])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
