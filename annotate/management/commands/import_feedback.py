"""Import a file of other tools' prompts, answers and annotations into a project.

    manage.py import_feedback harmless-base.jsonl.gz --project everyday --source hh-rlhf
    manage.py import_feedback votes.parquet --project everyday --dry-run
    manage.py import_feedback prompts.txt --project everyday --dry-run
    manage.py import_feedback data/mt_bench --project everyday
    manage.py import_feedback table.csv --project everyday --columns prompt=question,chosen=good,rejected=bad

The file is queued, and taken in here; a background worker that runs beside does it, if it is first. Ended by Ctrl-C or
killed, it is gone on with by any background worker, or by the same command with --go-on and the number that was told.
"""

from __future__ import annotations

import json
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import person_named, project_named, refusals_told
from annotate.core.typed_texts import named_values
from annotate.data.imports import mt_bench
from annotate.data.imports import options as options_of
from annotate.data.imports.actions import FORMATS, Order, go_on, start_import
from annotate.data.imports.engine import Importer
from annotate.data.rows import row_files
from annotate.models import AnnotatorKind, Import, User
from common.texts import percent

_WAITING = (Import.State.QUEUED, Import.State.RUNNING)
_TOLD = 20  # bad lines that are printed


class Command(BaseCommand):
    help = "Import a file of prompts, answers and annotations: hh-rlhf, TRL, LMArena, our own rows, plain tables, …"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", nargs="?", help="JSON lines, a list, CSV, TSV, Parquet, text; or MT-bench's folder")
        parser.add_argument("--project", default="", help="the project's slug")
        parser.add_argument("--source", default="", help="names the import (default: the file's name)")
        parser.add_argument("--format", default="auto", choices=FORMATS)
        parser.add_argument("--container", default="auto", choices=row_files.FORMATS)
        parser.add_argument("--columns", default="", help="of a plain table: prompt=question,chosen=good,rejected=bad")
        parser.add_argument("--judge", default="", choices=["", *AnnotatorKind.values], help="who judged")
        parser.add_argument("--link-models", action="store_true", help="to the project's models of the file's names")
        parser.add_argument("--dry-run", action="store_true", help="only tell what it would do")
        parser.add_argument("--queue", action="store_true", help="leave the work to a background worker that runs")
        parser.add_argument("--go-on", type=int, default=0, metavar="ID", help="go on with that import")
        parser.add_argument("--by", default="", help="username of a researcher (default: the first superuser)")

    def handle(self, *, file: str | None, by: str, queue: bool, go_on: int, **options: Any) -> None:
        settings.DEBUG = False  # else Django keeps the text of every statement
        with refusals_told():
            user = person_named(by, "researcher")
            import_ = _resume(go_on, user) if go_on else _new(file, user, options)
            if file and Path(file).is_dir() and (unread := mt_bench.left_out(Path(file))):
                self.stdout.write(f"Not read: {', '.join(unread)} (scores from 1 to 10 are no stars).")
        self.stdout.write(f"Import {import_.pk} of {import_.file_name} as {import_.format}, source {import_.source}.")
        read = [f"{name} → {use}" for name, use in options_of.columns_read(import_).items()]
        self.stdout.write(f"Its columns: {', '.join(read)}.")
        if unused := options_of.unused_columns(import_):
            self.stdout.write(f"Nothing reads: {', '.join(unused)}.")
        if queue:
            return
        self._work(import_)
        self._tell(import_)

    def _work(self, import_: Import) -> None:
        """Work until the import has ended, here or with a background worker beside us."""
        importer, last_report = Importer(only=import_.pk), time.monotonic()
        try:
            while import_.state in _WAITING:
                if not importer.do():
                    time.sleep(0.5)
                import_.refresh_from_db()
                if time.monotonic() - last_report > 5:
                    last_report = time.monotonic()
                    self.stdout.write(
                        f"{percent(import_.position / import_.bytes):>5}  {import_.rate:,.0f} rows a second"
                    )
        finally:
            importer.end()

    def _tell(self, import_: Import) -> None:
        counts = ", ".join(f"{n:,} {name}" for name, n in import_.counts.items())
        self.stdout.write(f"{import_.get_state_display()}: {counts or 'nothing'}")
        for problem in import_.problems.all()[:_TOLD]:
            self.stdout.write(f"line {problem.line}: {problem.reason}")
        if import_.counts.get("bad", 0) > _TOLD:
            self.stdout.write("… the others are on the import's page.")
        if import_.state == Import.State.FAILED:
            raise CommandError(import_.problem)


def _new(name: str | None, by: User, options: dict[str, Any]) -> Import:
    path = Path(name or "")
    if not name or not path.exists():
        raise CommandError(f"There is no file {name}." if name else "Name a file.")
    project = project_named(options["project"])
    order = Order(
        source=options["source"],
        format=options["format"],
        container=options["container"],
        columns=named_values(options["columns"], "columns"),
        judge=options["judge"],
        link=options["link_models"],
        dry_run=options["dry_run"],
    )
    if path.is_dir():
        order = replace(order, format="mt-bench") if order.format == "auto" else order
        with _joined(path) as file:
            return start_import(project=project, file=file, file_name=f"{path.name}.jsonl", order=order, by=by)
    with path.open("rb") as file:
        return start_import(project=project, file=file, file_name=path.name, order=order, by=by)


@contextmanager
def _joined(folder: Path) -> Iterator[BinaryIO]:
    """Give MT-bench's questions, answers and judgements as one file."""
    with tempfile.TemporaryFile() as file:
        try:
            for row in mt_bench.joined_rows(folder):
                file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
        except mt_bench.NotMtBench as error:
            raise CommandError(str(error)) from error
        file.seek(0)
        yield cast(BinaryIO, file)


def _resume(pk: int, by: User) -> Import:
    import_ = Import.objects.filter(pk=pk).select_related("project", "created_by").first()
    if import_ is None:
        raise CommandError(f"There is no import {pk}.")
    return import_ if import_.state in _WAITING else go_on(import_, by=by)
