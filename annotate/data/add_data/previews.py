"""Show what a draft would become under a plan: what each column is read as, its first rows, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Any

from annotate.data import formats
from annotate.data.add_data import column_targets
from annotate.data.add_data.column_targets import ROWS
from annotate.data.add_data.drafts import Draft
from annotate.data.imports import reading
from annotate.data.imports.file_preview import FilePreview, preview_file
from annotate.data.imports.reading import HowToRead
from annotate.data.rows.row_source import FileRow, printable
from annotate.data.uploads.uploaded_rows import Reading, Uploaded, spool_rows
from annotate.models import Project

_SHOWN, _EXAMPLE = 3, 80
_LARGEST_READ = 50  # rows by which a dataset is previewed


@dataclass(frozen=True)
class Plan:
    """Say what a file becomes. `columns` are {column: target} as somebody set them; {} where nobody has."""

    shape: str = ROWS
    format: str = "auto"
    container: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    task: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Column:
    """Show a column of the file: an example, its target, and what it is read as, "" where nothing reads it."""

    name: str
    example: str
    target: str
    use: str


@dataclass(frozen=True)
class Preview:
    """`how` says how the import engine reads it. `ignored` are columns that nothing reads. `dataset_rows` are the first
    rows of a dataset, and `bad` lines (number, reason)."""

    columns: tuple[Column, ...] = ()
    how: HowToRead = field(default_factory=HowToRead)
    mapping: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    ignored: tuple[str, ...] = ()
    file: FilePreview = field(default_factory=FilePreview)
    dataset_rows: tuple[Mapping[str, Any], ...] = ()
    bad: tuple[tuple[int, str], ...] = ()

    @property
    def is_usable(self) -> bool:
        return not self.problem and bool(self.file.first or self.dataset_rows)


def preview(draft: Draft, plan: Plan, project: Project) -> Preview:
    """Return the preview; what is wrong with file or plan stands in its `problem`."""
    try:
        first = reading.first_rows(draft.path, draft.file.name, plan.container)
    except (ValueError, OSError) as error:
        return Preview(problem=printable(str(error)))
    rows = [row.row for row in first if not row.problem]
    if plan.shape == ROWS:
        return _of_rows(draft, plan, project, rows)
    return _of_dataset(plan, first, rows)


def _of_rows(draft: Draft, plan: Plan, project: Project, rows: Sequence[Mapping[str, Any]]) -> Preview:
    names = column_targets.columns_of(rows)
    how, problem = _detected(draft, plan)
    uses = {} if problem else reading.uses_of_columns(draft.path, draft.file.name, how)
    suggested = column_targets.suggest(ROWS, names, uses)
    chosen = column_targets.choose(suggested, plan.columns)
    is_mapped = bool(problem) or (plan.format == "auto" and chosen != suggested)
    if is_mapped:
        how, problem = _mapped(plan, chosen)
        uses = {} if problem else reading.uses_of_columns(draft.path, draft.file.name, how)
    base = Preview(
        columns=_columns(rows, names, chosen, uses),
        how=how,
        mapping=chosen,
        problem=problem,
        ignored=() if problem else tuple(name for name, use in uses.items() if not use),
    )
    if problem:
        return base
    try:
        file = preview_file(draft.path, draft.file.name, how, eval_percent=project.eval_percent, shown=_SHOWN)
    except (ValueError, OSError) as error:
        return replace(base, problem=printable(str(error)))
    problem = "" if file.first else "No line at the beginning of the file can be used."
    return replace(base, file=file, problem=problem, bad=tuple((each.line, each.reason) for each in file.bad))


def _detected(draft: Draft, plan: Plan) -> tuple[HowToRead, str]:
    """Return how the file is read by its format, and what is wrong where none fits."""
    how = HowToRead(plan.format, plan.container)
    try:
        return replace(how, format=reading.found_out(draft.path, draft.file.name, how)), ""
    except ValueError as error:
        return how, printable(str(error))


def _mapped(plan: Plan, chosen: Mapping[str, str]) -> tuple[HowToRead, str]:
    """Return how the file is read as a table, and what is wrong with its columns."""
    columns: dict[str, str] = {}
    for name, target in chosen.items():
        if target in columns:
            return HowToRead(), f"Two columns are read as {target}: {columns[target]} and {name}. Choose one of them."
        if target:
            columns[target] = name
    how = HowToRead("table", plan.container, columns)
    try:
        formats.mapped(columns)
    except ValueError as error:
        return how, str(error).replace("Choose the column of the prompt: prompt=NAME.", "Choose the prompt’s column.")
    return how, ""


def _of_dataset(plan: Plan, first: Sequence[FileRow], rows: Sequence[Mapping[str, Any]]) -> Preview:
    names = column_targets.columns_of(rows)
    suggested = column_targets.suggest(plan.shape, names, {})
    chosen = column_targets.choose(suggested, plan.columns)
    done, spool = Uploaded(), StringIO()
    how = Reading(plan.shape, plan.task, dataset_columns(chosen), dict(plan.labels))
    spool_rows(first[:_LARGEST_READ], how, lambda row: "", spool, done)
    shown = tuple(json.loads(line) for line in spool.getvalue().split("\n")[:_SHOWN] if line)
    problem = "" if shown else "No line at the beginning of the file can be used: choose how to read the columns."
    uses = {} if problem else {name: chosen[name] or name for name in names if name not in done.ignored_columns}
    return Preview(
        columns=_columns(rows, names, chosen, uses),
        mapping=chosen,
        problem=problem,
        ignored=() if problem else tuple(name for name in names if name in done.ignored_columns),
        dataset_rows=shown,
        bad=tuple((bad.line, bad.reason) for bad in done.bad[:10]),
    )


def dataset_columns(mapping: Mapping[str, str]) -> dict[str, str]:
    """Return {ours: the file's} of the columns that bear another name in the file."""
    return {target: name for name, target in mapping.items() if target and target != name}


def _columns(
    rows: Sequence[Mapping[str, Any]], names: Sequence[str], chosen: Mapping[str, str], uses: Mapping[str, str]
) -> tuple[Column, ...]:
    return tuple(Column(name, _example(rows, name), chosen[name], _use(name, uses)) for name in names)


def _use(name: str, uses: Mapping[str, str]) -> str:
    """Return what a column is read as; of an object, what its parts are read as."""
    inner = dict.fromkeys(use for path, use in uses.items() if path.startswith(f"{name}.") and use)
    return uses.get(name, "") or ", ".join(inner)


def _example(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    value = next((row[name] for row in rows if row.get(name) not in (None, "", [], {})), "")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return printable(text if len(text) <= _EXAMPLE else f"{text[:_EXAMPLE]}…")
