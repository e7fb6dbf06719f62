"""Make verdicts of what a run has asked, however it ended: what was answered has been paid for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from django.db import transaction

from common.judging import rubrics
from common.judging.verdicts import FIRST, SECOND
from evaluation.models import RepeatedVerdict, Rubric, Verdict
from training.core.run_directory import Row, RunDirectory, read_lines
from training.models import Run

_BATCH = 500


def record(run: Run, directory: RunDirectory) -> None:
    """Record the verdicts that the run's files hold, none a second time."""
    about = next(iter(directory.rows("about")), None)
    if about is None or not Rubric.objects.filter(pk=about["rubric_id"]).exists():
        return
    replies = {row["key"]: row for row in read_lines(directory.path / rubrics.VERDICTS) if row["verdict"] is not None}
    said = ((item, _said(item, about["form"], replies)) for item in directory.each_row("items"))
    told = ((item, fields) for item, fields in said if fields is not None)
    while batch := list(islice(told, _BATCH)):
        new = [(item, fields) for item, fields in batch if "verdict_id" not in item]
        again = [(item, fields) for item, fields in batch if "verdict_id" in item]
        Verdict.objects.bulk_create(
            [Verdict(rubric_id=about["rubric_id"], run=run, **_ends(item), **fields) for item, fields in new],
            ignore_conflicts=True,
        )
        RepeatedVerdict.objects.bulk_create(
            [RepeatedVerdict(verdict_id=item["verdict_id"], run=run, **fields) for item, fields in again],
            ignore_conflicts=True,
        )


def keep_of_a_broken_run(run: Run) -> None:
    """Record what a run was told before it failed or was cancelled; resumed, it goes on from there."""
    if run.kind == "verdicts" and run.state in (Run.State.FAILED, Run.State.CANCELLED):
        with transaction.atomic():
            record(run, RunDirectory(run.path))


def _said(item: Row, form: str, replies: dict[str, Row]) -> Row | None:
    """Return the verdict on an item and what it took, by field; None where an order has no verdict yet."""
    if form == rubrics.SCALE:
        asked = [replies.get(item["key"])]
    elif item["text_a"].strip() == item["text_b"].strip():
        return {"winner": "tie", "reasons": ["Both texts are the same."]}
    else:
        asked = [replies.get(f"{item['key']} {order}") for order in (rubrics.A_FIRST, rubrics.B_FIRST)]
    told = [row for row in asked if row is not None]
    if len(told) < len(asked):
        return None
    fields: Row = {"reasons": [row["reply"] for row in told], **_cost(told)}
    if form == rubrics.SCALE:
        return {**fields, "grade": told[0]["verdict"]}
    a_first = {FIRST: "model_a", SECOND: "model_b"}.get(told[0]["verdict"], "tie")
    b_first = {FIRST: "model_b", SECOND: "model_a"}.get(told[1]["verdict"], "tie")
    winner = a_first if a_first == b_first else "tie"
    return {**fields, "winner": winner, "a_first": a_first, "b_first": b_first}


def _ends(item: Row) -> Row:
    return {"prompt_id": item["prompt_id"], "completion_a_id": item["a"], "completion_b_id": item.get("b")}


def _cost(told: list[Row]) -> Row:
    """Return tokens and seconds of the replies together; None where one of them was not counted."""
    return {name: _sum(row.get(name) for row in told) for name in ("prompt_tokens", "completion_tokens", "seconds")}


def _sum(values: Iterator[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
