"""Bring an installation back from a backup, onto a machine with an empty ASSAY_DATA and an empty database.

    manage.py restore SOURCE                          the newest backup, and then manage.py verify
    manage.py restore SOURCE --backup 20261129T0…     an earlier one
    manage.py restore SOURCE --files                  the files alone: Postgres' own archive brought the database back
    manage.py restore SOURCE --only models/base       one folder or file, into an installation that stands

Every hash is compared. One that was cut off goes on when it is called again. Set SECRET_KEY, and ASSAY_KEY_SECRETS if
there was one, to what they were: they are not in the backup (docs/guides/backup.md).
"""

from __future__ import annotations

from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.artefacts.storage_problems import StorageProblem
from evaluation.installation.backup import backup_archive, restoring
from evaluation.installation.spoken_progress import SpokenProgress


class Command(BaseCommand):
    help = "Bring an installation back from a backup onto an empty machine, and verify it."
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="what backups were made to: a folder, or s3://bucket/prefix")
        parser.add_argument("--backup", default="", metavar="NAME", help="an earlier one (default: the newest)")
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--files", action="store_true", help="no rows: the database is back by its own archive")
        what.add_argument("--only", default="", metavar="PLACE", help="one folder or file below ASSAY_DATA")

    def handle(self, *args: Any, source: str, backup: str, files: bool, only: str, **options: Any) -> None:
        try:
            archive = backup_archive.open_archive(source)
            manifest = backup_archive.manifest_of(archive, backup)
            if only:
                restoring.restore_one(archive, manifest, only)
                self.stdout.write(f"{only} is back, from {manifest.name}.")
                return
            bring = restoring.restore_files if files else restoring.restore
            about = bring(archive, manifest, SpokenProgress(self.stderr.write))
        except StorageProblem as problem:
            raise CommandError(str(problem)) from problem
        rows = "files" if files else f"{sum(about.rows.values()):,} rows"
        self.stdout.write(f"{manifest.name} is back: {rows}, made at {about.made_at}.")
        for place in about.missing:
            self.stderr.write(f"{place} was missing already when the backup was made.")
        if not files and restoring.newer_here(about):
            self.stdout.write("Its tables are of an earlier version: call manage.py migrate, then manage.py verify.")
            return
        call_command("verify", stdout=self.stdout, stderr=self.stderr)
