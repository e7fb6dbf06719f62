"""Make verdicts of what a run has asked, however it ended: what was answered has been paid for."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import transaction

from common.judging import rubrics
from common.judging.verdicts import FIRST, SECOND
from evaluation.models import Rubric, Verdict
from training.core.run_directory import Row, RunDirectory, read_lines
from training.models import Run

_BATCH = 500


def record(run: Run, directory: RunDirectory) -> None:
    """Record the verdicts that the run's files hold, none a second time."""
    about = next(iter(directory.rows("about")), None)
    if about is None or not Rubric.objects.filter(pk=about["rubric_id"]).exists():
        return
    replies = {row["key"]: row for row in read_lines(directory.path / rubrics.VERDICTS) if row["verdict"] is not None}
    made = (
        verdict
        for item in directory.each_row("items")
        if (verdict := _verdict(item, about["form"], replies)) is not None
    )
    batch: list[Verdict] = []
    for verdict in made:
        verdict.rubric_id, verdict.run = about["rubric_id"], run
        batch.append(verdict)
        if len(batch) == _BATCH:
            Verdict.objects.bulk_create(batch, ignore_conflicts=True)
            batch = []
    Verdict.objects.bulk_create(batch, ignore_conflicts=True)


def keep_of_a_broken_run(run: Run) -> None:
    """Record what a run was told before it failed or was cancelled; resumed, it goes on from there."""
    if run.kind == "verdicts" and run.state in (Run.State.FAILED, Run.State.CANCELLED):
        with transaction.atomic():
            record(run, RunDirectory(run.path))


def _verdict(item: Row, form: str, replies: dict[str, Row]) -> Verdict | None:
    """Return the verdict on an item; None where an order has no verdict yet."""
    if form == rubrics.SCALE:
        asked = [replies.get(item["key"])]
    elif item["text_a"].strip() == item["text_b"].strip():
        return Verdict(**_ends(item), winner="tie", reasons=["Both texts are the same."])
    else:
        asked = [replies.get(f"{item['key']} {order}") for order in (rubrics.A_FIRST, rubrics.B_FIRST)]
    told = [row for row in asked if row is not None]
    if len(told) < len(asked):
        return None
    fields = _ends(item) | {"reasons": [row["reply"] for row in told]} | _cost(told)
    if form == rubrics.SCALE:
        return Verdict(**fields, grade=told[0]["verdict"])
    a_first = {FIRST: "model_a", SECOND: "model_b"}.get(told[0]["verdict"], "tie")
    b_first = {FIRST: "model_b", SECOND: "model_a"}.get(told[1]["verdict"], "tie")
    return Verdict(**fields, winner=a_first if a_first == b_first else "tie", a_first=a_first, b_first=b_first)


def _ends(item: Row) -> Row:
    return {"prompt_id": item["prompt_id"], "completion_a_id": item["a"], "completion_b_id": item.get("b")}


def _cost(told: list[Row]) -> Row:
    """Return tokens and seconds of the replies together; None where one of them was not counted."""
    return {name: _sum(row.get(name) for row in told) for name in ("prompt_tokens", "completion_tokens", "seconds")}


def _sum(values: Iterator[float | None]) -> float | None:
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
