"""The rows of an upload, read and checked one by one: what a dataset may hold, and why a line is bad."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO, Any

from annotate.data.rows import row_formats, task_items
from annotate.data.rows.row_formats import Row
from annotate.data.rows.row_source import FileRow, printable
from annotate.data.rows.task_families import TASKS, task_of
from annotate.models import Dataset

KINDS = ("sft", "labelled", "corpus", "task")
MOST_TOLD = 50  # bad lines that are named; the rest are counted
_MOST_LABELS = 200
KeepsOut = Callable[[Row], str]


@dataclass(frozen=True)
class BadLine:
    line: int
    reason: str


@dataclass
class Uploaded:
    """Hold what an upload did. `is_new` is False when these very rows stood already."""

    dataset: Dataset | None = None
    is_new: bool = True
    lines: int = 0
    rows: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    bad: list[BadLine] = field(default_factory=list)
    bad_count: int = 0
    ignored_columns: set[str] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)

    def tell(self, line: int, reason: str) -> None:
        self.bad_count += 1
        if len(self.bad) < MOST_TOLD:
            self.bad.append(BadLine(line, printable(reason)))


@dataclass(frozen=True)
class Reading:
    """Say how rows are to be understood: `columns` maps our field to the file's column, `labels` what it writes to
    ours."""

    kind: str
    task: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)

    def renamed(self, row: Row) -> Row:
        taken_names = set(self.columns.values())
        renamed = {name: value for name, value in row.items() if name not in taken_names}
        renamed |= {own_name: row[file_name] for own_name, file_name in self.columns.items() if file_name in row}
        if self.labels and "label" in renamed:
            renamed["label"] = self._label(renamed["label"])
        return renamed

    def _label(self, value: Any) -> str:
        text = str(value).strip()
        if text not in self.labels:
            raise ValueError(f"has the label {text!r:.60}, which has no name ({', '.join(self.labels)}).")
        return self.labels[text]


def spool_rows(rows: Iterable[FileRow], reading: Reading, keeps_out: KeepsOut, spool: IO[str], done: Uploaded) -> str:
    """Write what may be used; the task, or the form of a task file, that the rows turned out to be of."""
    task = reading.task
    read_row: Any = None
    for file_row in rows:
        done.lines += 1
        try:
            if file_row.problem:
                raise ValueError(file_row.problem)
            row = reading.renamed(file_row.row)
            if read_row is None:
                task = task or _found_out(reading.kind, row)
                read_row = _reader(reading.kind, task)
            checked_rows = read_row(row)
        except ValueError as error:
            done.tell(file_row.line, str(error))
            continue
        left = row.keys() - _READ - (checked_rows[0].keys() if checked_rows else set())
        done.ignored_columns |= set(map(printable, left))
        for one in checked_rows:
            _keep(one, keeps_out, spool, done)
    return task


# Columns that readers understand, though no row of ours bears them.
_READ = {"messages", "conversations", "instruction", "input", "output", "system", "source", "is_cut"}


def _reader(kind: str, task: str) -> Callable[[Row], list[Row]]:
    return task_items.reader_of(task) if kind == "task" else row_formats.reader_of(kind, task)


def _found_out(kind: str, row: Row) -> str:
    """Tell by the first row which family of labelled tasks, or which form of a task file, this is."""
    if kind == "task":
        return task_items.form_of(row)
    return _task_of(row) if kind == "labelled" else ""


def _task_of(row: Row) -> str:
    if (task := task_of(set(row))) is None:
        forms = "; ".join(f"{task.name}: {', '.join(task.fields)}" for task in TASKS.values())
        raise ValueError(
            f"has the columns {', '.join(map(str, row))}, which match no task ({forms}). Rename the columns."
        )
    return task.name


def _keep(row: Row, keeps_out: KeepsOut, spool: IO[str], done: Uploaded) -> None:
    if reason := keeps_out(row):
        done.left_out[reason] += 1
        return
    done.rows += 1
    for name, counter in (("label", done.labels), ("group", done.groups)):
        value = row.get(name)  # a task of choices may keep a column of that name that holds anything
        if isinstance(value, str) and (value in counter or len(counter) < _MOST_LABELS):
            counter[value] += 1
    spool.write(json.dumps(row, ensure_ascii=False) + "\n")
