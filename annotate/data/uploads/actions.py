"""Rows from a file become a frozen dataset: demonstrations, labelled texts, a corpus, or a task to measure models on.

Read once, line by line, into a nameless temporary file; only when every line may be used, or the bad ones may be left
out, does a dataset come of it, under the hash of its rows. The same rows again give the same dataset again.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from typing import IO, Any, BinaryIO

from django.conf import settings
from django.db import IntegrityError, transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.events import announce_dataset
from annotate.core.permissions import require
from annotate.core.typed_texts import checked_name
from annotate.data import frozen_rows
from annotate.data.datasets.actions import check_name_of_rows, name_taken
from annotate.data.rows.row_files import read_rows
from annotate.data.rows.row_formats import Row
from annotate.data.rows.row_source import FileRow, TooLarge, UnreadableFile, printable
from annotate.data.rows.task_families import TASKS
from annotate.data.uploads.leakage_guard import EvalPrompts
from annotate.data.uploads.uploaded_rows import KINDS, MOST_TOLD, KeepsOut, Reading, Uploaded, spool_rows
from annotate.models import Dataset, Project, User
from common import splits

_HELD_OUT = 0.05  # of a corpus's documents, by the hash of their text


def upload(
    *,
    project: Project,
    kind: str,
    name: str,
    file: BinaryIO,
    file_name: str,
    by: User,
    task: str = "",
    format: str = "auto",
    columns: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    skip_bad: bool = False,
) -> Uploaded:
    """Freeze a file's rows. Refused with every bad line (the first 50 of them), and then nothing is written."""
    return freeze_rows(
        project=project,
        kind=kind,
        name=name,
        rows=_from_file(file, file_name, format),
        origin=file_name,
        by=by,
        task=task,
        columns=columns,
        labels=labels,
        skip_bad=skip_bad,
    )


def freeze_rows(
    *,
    project: Project,
    kind: str,
    name: str,
    rows: Iterable[FileRow],
    origin: str,
    by: User,
    task: str = "",
    columns: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    skip_bad: bool = False,
) -> Uploaded:
    """Freeze rows from anywhere, such as a hub, as `upload` does."""
    require(by, "research", project)
    name = checked_name(name)
    reading = _checked_reading(kind, task, columns or {}, labels or {})
    done = Uploaded()
    with tempfile.TemporaryFile("w+", encoding="utf-8", dir=_folder()) as spool:
        kept_task = spool_rows(rows, reading, _keeping_out(project, kind), spool, done)
        _refuse_what_is_wrong(done, skip_bad)
        files = _files(kind, spool)
        check = partial(check_name_of_rows, project, kind, name)
        content_hash = frozen_rows.write_streamed(files, kind=kind, side=_side(kind), check=check)
    counts = _counts(kind, kept_task, done, origin)
    return _record(project, kind, name, by, content_hash, counts, done)


def _folder() -> str:
    settings.DATASETS_DIR.mkdir(parents=True, exist_ok=True)
    return str(settings.DATASETS_DIR)


def _side(kind: str) -> str:
    """Return the side of rows of this kind: what measures models trains none."""
    return splits.EVAL if kind == "task" else splits.TRAIN


def _keeping_out(project: Project, kind: str) -> KeepsOut:
    """Return why a row stays out, for rows of this kind; empty where it may go in. A task has no wall: it trains
    nothing."""
    return Repeated().keeps_out if kind == "task" else EvalPrompts(project).keeps_out


class Repeated:
    """The same item twice would count twice, and its interval would be too narrow."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def keeps_out(self, row: Row) -> str:
        digest = hashlib.sha256(json.dumps(row, ensure_ascii=False, sort_keys=True).encode()).digest()
        if digest in self._seen:
            return "that are in the file twice"
        self._seen.add(digest)
        return ""


def _checked_reading(kind: str, task: str, columns: dict[str, str], labels: dict[str, str]) -> Reading:
    if kind not in KINDS:
        raise Refused(
            400,
            kind=f"{kind!r} cannot be uploaded; use one of {', '.join(KINDS)}. Feedback becomes a dataset by freezing.",
        )
    if task and task not in TASKS:
        raise Refused(400, task=f"{task!r} is not a task; use one of {', '.join(TASKS)}, or leave it out.")
    if task and kind != "labelled":
        raise Refused(400, task="Only labelled rows have a task; leave it out.")
    return Reading(kind, task, columns, labels)


def _from_file(file: BinaryIO, name: str, format: str) -> Iterator[FileRow]:
    try:
        yield from read_rows(file, name, format)
    except TooLarge as error:
        raise Refused(413, file=str(error)) from error
    except UnreadableFile as error:
        raise Refused(400, file=printable(str(error))) from error


def _refuse_what_is_wrong(done: Uploaded, skip_bad: bool) -> None:
    if done.bad_count and (not skip_bad or not done.rows):
        text = f", of which the first {MOST_TOLD} follow" if done.bad_count > MOST_TOLD else ""
        remedy = "Correct them, or leave them out (skip_bad)." if done.rows else "Check the format of the rows."
        raise Refused(
            400,
            file=f"{done.bad_count:,} of {done.lines:,} lines cannot be used{text}; nothing was uploaded. {remedy}",
            **{f"line {bad.line}": bad.reason for bad in done.bad},
        )
    if not done.rows:
        left = "; ".join(f"{n:,} {reason}" for reason, n in done.left_out.items())
        raise Refused(400, file=f"All rows would be left out ({left})." if left else "The file has no rows.")


def _files(kind: str, spool: IO[str]) -> dict[str, Iterable[Row]]:
    if kind != "corpus":
        return {{"sft": "examples", "labelled": "rows", "task": "items"}[kind]: _spooled(spool)}
    bound = _bound(spool)
    return {
        "train-00000": (row for row in _spooled(spool) if _hash(row) > bound),
        "validation": (row for row in _spooled(spool) if _hash(row) <= bound),
    }


def _bound(spool: IO[str]) -> int:
    """Return the hash up to which texts are held out: a twentieth of them, or one where there are few."""
    share = int(_HELD_OUT * 2**64)
    lowest, highest = 2**64, -1
    for row in _spooled(spool):
        lowest, highest = min(lowest, _hash(row)), max(highest, _hash(row))
    if lowest == highest:
        raise Refused(400, file="A corpus needs at least two different texts: one of them is held out for measuring.")
    return share if lowest <= share < highest else lowest


def _hash(row: Row) -> int:
    return int(splits.text_hash([{"role": "text", "content": row["text"]}])[:16], 16)


def _spooled(spool: IO[str]) -> Iterator[Row]:
    spool.seek(0)
    yield from (json.loads(line) for line in spool)


def _counts(kind: str, task: str, done: Uploaded, origin: str) -> dict[str, Any]:
    unit = {"sft": "examples", "labelled": "rows", "corpus": "documents", "task": "items"}[kind]
    counts: dict[str, Any] = {unit: done.rows}
    if task:
        counts["form" if kind == "task" else "task"] = task
    for name, counter in (("labels", done.labels), ("groups", done.groups)):
        if counter:
            counts[name] = dict(counter.most_common())
    left_out = dict(done.left_out) | ({"lines that could not be used": done.bad_count} if done.bad_count else {})
    return counts | {"left_out": left_out, "origin": origin[:200]}


def _record(
    project: Project, kind: str, name: str, by: User, content_hash: str, counts: dict[str, Any], done: Uploaded
) -> Uploaded:
    standing = Dataset.objects.filter(project=project, kind=kind, content_hash=content_hash)
    if first := standing.order_by("id").first():
        done.dataset, done.is_new = first, False
        return done
    try:
        with transaction.atomic():
            done.dataset = Dataset.objects.create(
                project=project,
                kind=kind,
                name=name,
                side=_side(kind),
                content_hash=content_hash,
                counts=counts,
                created_by=by,
            )
            audit.record(action="dataset.uploaded", about=f"{name} ({kind})", by=by, project=project)
            announce_dataset(done.dataset)
    except IntegrityError as error:  # its twin, sent at the same moment, took the name
        raise name_taken(project, name) from error
    return done
