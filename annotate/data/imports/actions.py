"""Import feedback: files of other tools, preference pairs, and annotations of completions that stand here.

Importing the same again adds nothing twice. What is imported counts as its importer's feedback, its source names the
import, and the annotator whom a file names stays beside it. The background worker takes a file in
(`annotate.data.imports.engine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from django.db import transaction

from annotate.core import audit
from annotate.core.errors import Refused
from annotate.core.permissions import can, require
from annotate.data import formats
from annotate.data.formats.items import Item, NewComparison
from annotate.data.imports import engine, options, reading
from annotate.data.imports import kept_files as files
from annotate.data.imports.feedback_rows import Into
from annotate.data.imports.kept_files import KeptFile
from annotate.data.imports.preparing import Ready, prepare
from annotate.data.imports.reading import HowToRead
from annotate.data.imports.sinks import Database
from annotate.data.imports.writing import write
from annotate.data.prompts.actions import check_messages, check_text
from annotate.data.rows import row_files, row_source
from annotate.models import AnnotatorKind, Comparison, Import, Project, Split, User
from annotate.models.feedback import annotator_kind_of
from annotate.models.prompts import reserved_problem
from common import transcripts

_CHUNK = 500
TABLE = "table"  # a plain table whose columns are named in the order
FORMATS = ("auto", *formats.READERS)
ENDED = (Import.State.DONE, Import.State.FAILED, Import.State.CANCELLED)


@dataclass(frozen=True)
class Order:
    """Say how a file is to be imported. `judge` is "" for what the importer is; `link` needs a manager."""

    source: str = ""
    format: str = "auto"
    container: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    judge: str = ""
    link: bool = False
    dry_run: bool = False


def start_import(*, project: Project, file: BinaryIO, file_name: str, order: Order, by: User) -> Import:
    """Keep the file and queue it for the background worker. Refused when it cannot be read, or when no line at its
    beginning can be used; then nothing is kept of it."""
    require(by, "research", project)
    _check_source(order.source.strip() or file_name[:60])
    _check_order(order, project, by)
    kept_file = files.keep(file, file_name)
    try:
        return start_import_of(kept_file, project=project, order=order, by=by)
    except Refused:
        _let_go(kept_file)
        raise


def start_import_of(kept_file: KeptFile, *, project: Project, order: Order, by: User) -> Import:
    """Do as `start_import` with a file that is kept already. Where it is refused, the file stays."""
    require(by, "research", project)
    source = order.source.strip() or kept_file.name[:60]
    _check_source(source)
    _check_order(order, project, by)
    read_options = HowToRead(order.format, order.container, order.columns)
    path = files.path_of(kept_file.hash)
    format_ = _checked_beginning(path, kept_file.name, read_options)
    columns_read = reading.uses_of_columns(path, kept_file.name, replace(read_options, format=format_))
    judge = _judge(format_, order)
    chosen_options = {"container": order.container, "columns": dict(order.columns), "judge": judge}
    with transaction.atomic():
        import_ = Import.objects.create(
            project=project,
            created_by=by,
            format=format_,
            source=source,
            file_name=kept_file.name,
            file_hash=kept_file.hash,
            bytes=kept_file.bytes,
            options=chosen_options | {"link": order.link, "dry_run": order.dry_run, options.COLUMNS_READ: columns_read},
        )
        if not order.dry_run:
            audit.record(action="import.started", about=f"{kept_file.name} as {source}", by=by, project=project)
    return import_


def go_on(import_: Import, *, by: User) -> Import:
    """Import in earnest after a dry run; resume behind the last line taken after a failure or a cancellation."""
    require(by, "research", import_.project)
    if import_.state not in (*ENDED, Import.State.CHECKED) or import_.state == Import.State.DONE:
        raise Refused(409, import_="The import is running or done, so it cannot be continued.")
    if import_.options.get("link"):
        require(by, "manage", import_.project)  # as when it was ordered: its votes move a rank
    if not files.path_of(import_.file_hash).exists():
        raise Refused(410, file=f"The file was kept for {files.KEPT_DAYS} days and is gone; upload it again.")
    fields: dict[str, Any] = {"state": Import.State.QUEUED, "problem": "", "finished_at": None}
    with transaction.atomic():
        if options.is_dry_run(import_):
            fields |= {"options": import_.options | {"dry_run": False}, "lines": 0, "position": 0, "counts": {}}
            fields |= {"started_at": None, "rate": 0}
            import_.problems.all().delete()
        if not Import.objects.filter(pk=import_.pk, state=import_.state).update(**fields):
            raise Refused(409, import_="Somebody else has just started it.")
        audit.record(action="import.gone on", about=import_.file_name, by=by, project=import_.project)
    import_.refresh_from_db()
    return import_


@transaction.atomic
def cancel_import(import_: Import, *, by: User) -> Import:
    """Cancel an import at the end of the portion under way. What was taken until then stays."""
    require(by, "research", import_.project)
    waiting = Import.objects.filter(pk=import_.pk, state=Import.State.QUEUED)
    if not engine.end(import_, waiting, Import.State.CANCELLED):
        running = Import.objects.filter(pk=import_.pk, state=Import.State.RUNNING)
        if not running.update(cancel_asked=True):
            raise Refused(409, import_="The import has already ended.")
    audit.record(action="import.cancelled", about=import_.file_name, by=by, project=import_.project)
    import_.refresh_from_db()
    return import_


def preview(import_: Import, n: int = 10) -> list[tuple[int, Item]]:
    """Return the first items of its file, each with its line, as they would be taken; none once the file is gone."""
    path = files.path_of(import_.file_hash)
    if not path.exists():
        return []
    try:
        return reading.first_items(path, import_.file_name, options.how_to_read(import_), n)[0]
    except (ValueError, OSError):  # damaged further on: what was wrong stands in the import itself
        return []


def _check_order(order: Order, project: Project, by: User) -> None:
    if order.format not in FORMATS:
        raise Refused(400, format=f"{order.format!r} is not a format; use one of {', '.join(FORMATS)}.")
    if order.container not in row_files.FORMATS:
        raise Refused(400, container=f"{order.container!r} is unknown; use one of {', '.join(row_files.FORMATS)}.")
    if order.judge and order.judge not in AnnotatorKind.values:
        raise Refused(400, judge=f"{order.judge!r} is unknown; use one of {', '.join(AnnotatorKind.values)}.")
    if order.columns and order.format != "auto":
        raise Refused(
            400, columns="A format has its own columns; send columns only for a plain table without a format."
        )
    if order.link:
        require(by, "manage", project)  # votes for models that compete here move their rank
    try:
        if order.columns:
            formats.mapped(order.columns)
    except ValueError as error:
        raise Refused(400, columns=str(error)) from error


def _checked_beginning(path: Path, name: str, read_options: HowToRead) -> str:
    """Return the format. The first portion tells whether anything can be used at all."""
    try:
        format_ = reading.found_out(path, name, read_options)
        items, bad = reading.first_items(
            path, name, HowToRead(format_, read_options.container, read_options.columns), 3
        )
    except row_source.TooLarge as error:
        raise Refused(413, file=str(error)) from error
    except ValueError as error:
        raise Refused(400, file=row_source.printable(str(error))) from error
    if not items:
        text = "; ".join(f"line {first_bad.line} {first_bad.reason}" for first_bad in bad[:3])
        text = text or "none of its rows holds anything to add"
        raise Refused(400, file=f"No line of it can be used as {format_}: {text}")
    return format_


def _judge(format_: str, order: Order) -> str:
    """Return who judged: what a model said is never taken for people's."""
    known = formats.INCOMING.get(format_)
    if known is None or not known.is_by_model:
        return order.judge
    if order.judge == AnnotatorKind.PERSON:
        raise Refused(400, judge=f"In {known.title} a model is the judge; leave out judge=person.")
    return AnnotatorKind.SIMULATION


def _let_go(kept_file: KeptFile) -> None:
    if kept_file.is_new and not Import.objects.filter(file_hash=kept_file.hash).exists():
        files.delete(kept_file)


def import_pairs(*, project: Project, pairs: Sequence[transcripts.Pair], source: str, by: User) -> list[Comparison]:
    """Return the comparisons of these pairs, in order; Refused with the place of each bad one, and then nothing is
    added."""
    require(by, "research", project)
    _check_source(source)
    if wrong := {f"{index}.chosen": reason for index, pair in enumerate(pairs) if (reason := _unusable(pair))}:
        raise Refused(400, **wrong)
    into, names = _into(project, source, by), list[str]()
    prepared = [_ready(index, pair, project) for index, pair in enumerate(pairs)]
    with transaction.atomic():
        project.lock()
        for start in range(0, len(prepared), _CHUNK):
            write(prepared[start : start + _CHUNK], into, Database(), names)
    comparisons: dict[str | None, Comparison] = {}
    for start in range(0, len(names), _CHUNK):
        rows = Comparison.objects.filter(idempotency_key__in=names[start : start + _CHUNK])
        comparisons |= {row.idempotency_key: row for row in rows.select_related("project", "prompt")}
    return [comparisons[name] for name in names]


def _ready(index: int, pair: transcripts.Pair, project: Project) -> Ready:
    item = NewComparison(messages=pair.messages, a=pair.chosen, b=pair.rejected, winner="model_a", is_ordered=False)
    return prepare(item, line=index, eval_percent=project.eval_percent)


def _into(project: Project, source: str, by: User) -> Into:
    return Into(project.pk, source, by.pk, annotator_kind_of(by))


def _check_source(source: str) -> None:
    if not source.strip() or len(source) > 60 or not source.isprintable():
        raise Refused(400, source="Enter a source of 1 to 60 characters, such as hh-rlhf harmless-base.")
    if problem := reserved_problem(source):
        raise Refused(400, source=problem)


def _unusable(pair: transcripts.Pair) -> str:
    """Return why a pair may not be stored; empty when it may."""
    try:
        check_messages(pair.messages)
        check_text(pair.chosen, "chosen", "The chosen answer")
        check_text(pair.rejected, "rejected", "The rejected answer")
    except Refused as refused:
        return " ".join(refused.errors.values())
    return "The two answers are the same." if pair.chosen.strip() == pair.rejected.strip() else ""


def _moves_a_rank(row: dict[str, Any]) -> bool:
    """Return whether a comparison could rank models, as a linked import's could, which needs a manager."""
    models = {row[end].model_id for end in ("completion_a", "completion_b")}
    return bool(row["prompt"].side == Split.EVAL and None not in models and len(models) == 2)


def import_feedback(
    *, table: type[Any], project: Project, rows: Sequence[dict[str, Any]], source: str, by: User
) -> list[Any]:
    """Import checked rows of ratings, comparisons or demonstrations on completions and prompts that stand in the
    project."""
    require(by, "research", project)
    _check_source(source)
    if table is Comparison and any(map(_moves_a_rank, rows)) and not can(by, "manage", project):
        raise Refused(
            403,
            project="Comparisons of two models' answers to eval prompts move ranks. Only managers of "
            f"{project.name} can add them; ask one of them, or label the items here.",
        )
    guideline = project.guideline
    common = {
        "project": project,
        "author": by,
        "judge": annotator_kind_of(by),
        "source": source,
        "guideline_version": guideline.version if guideline else None,
    }
    with transaction.atomic():
        return table.objects.bulk_create([table(**row, **common) for row in rows], batch_size=_CHUNK)
