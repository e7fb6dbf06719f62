"""Move all rows to an empty Postgres database, and compare them row by row.

    manage.py move_to_database postgres://assay:…@db.internal/assay

Stop web, workers and background worker before; afterwards start them with that DATABASE_URL. The target may be without
tables: they are made. All of it is one transaction: whatever happens, the target has all rows or none, and the present
database is only read.
"""

from __future__ import annotations

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotate.core.db.connections import written_by
from evaluation.installation.database_move import target_database
from evaluation.installation.database_move.moving import move
from evaluation.installation.database_move.row_sums import RowSum
from evaluation.installation.spoken_progress import SpokenProgress

_NEXT = (
    "Set DATABASE_URL to the new address for web, workers and background worker, start them, and call manage.py "
    "verify. What still writes to the old database is lost: set its file aside."
)


class Command(BaseCommand):
    help = "Move all rows to an empty Postgres database, and compare them row by row."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("url", help="postgres://user:password@host/name; - reads it from the standard input")

    def handle(self, *args: Any, url: str, **options: Any) -> None:
        url = input().strip() if url == "-" else url
        started, tables, rows = time.monotonic(), 0, 0

        def report(table: str, total: RowSum) -> None:
            nonlocal tables, rows
            tables, rows = tables + 1, rows + total.count
            if total.count:
                self.stdout.write(f"{table}: {total.count:,} rows, equal ({total.checksum[:16]})")

        # The log of slow writes names its writer: not by the command line, which has the password.
        with written_by("manage.py move_to_database"), target_database.opened(url) as target:
            for name in target_database.unknown_tables():
                self.stderr.write(f"{name} is no table of this version, and stays behind.")
            target_database.prepare(target, url)
            move(target, report, SpokenProgress(self.stderr.write))
        seconds = time.monotonic() - started
        self.stdout.write(f"{rows:,} rows are moved and equal, {tables} tables, in {seconds:.1f} s.")
        self.stdout.write(_NEXT)
