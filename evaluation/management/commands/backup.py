"""Copy the installation to TARGET, a folder on another disk or s3://bucket/prefix, while people work.

    manage.py backup TARGET              one more backup; what TARGET has already is not copied again
    manage.py backup TARGET --keep 14    and then delete all but the newest 14
    manage.py backup TARGET --list       the backups that are whole
    manage.py backup TARGET --verify     read all of them, and compare every hash

It holds all rows, and the files of ASSAY_DATA that ASSAY_STORAGE has not; no SECRET_KEY (docs/guides/backup.md).
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.storage_problems import StorageProblem
from evaluation.installation.backup import backup_archive, backup_files
from evaluation.installation.backup.backing_up import back_up
from evaluation.installation.spoken_progress import SpokenProgress
from training.storage.disk_usage import size_in_words


class Command(BaseCommand):
    help = "Copy rows and files to TARGET while people work; what is there already is not copied again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("target", help="a folder that is there, or s3://bucket/prefix")
        parser.add_argument("--keep", type=int, metavar="N", help="delete all but the newest N afterwards")
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--list", action="store_true", help="name the backups that are whole")
        action.add_argument("--verify", action="store_true", help="read all of them and compare every hash")

    def handle(self, *args: Any, target: str, keep: int | None, verify: bool, **options: Any) -> None:
        if keep is not None and keep < 1:
            raise CommandError("Keep one backup at least: --keep 1.")
        usual = os.umask(0o077)  # it holds what people wrote, and keys of webhooks
        try:
            archive = backup_archive.open_archive(target)
            if options["list"] or verify:
                self._list(archive, verify)
            else:
                self._back_up(archive, keep)
        except StorageProblem as problem:
            raise CommandError(str(problem)) from problem
        finally:
            os.umask(usual)

    def _back_up(self, archive: ArtefactStore, keep: int | None) -> None:
        started = time.monotonic()
        backup = back_up(archive, SpokenProgress(self.stderr.write))
        for place in backup.about.missing:
            self.stderr.write(f"{place} is named by a row and was not there: see manage.py verify.")
        for place in backup.about.unstable:
            self.stderr.write(f"{place} changed too fast to be copied: its run begins again after a restore.")
        for name in backup_files.unknown_entries():
            self.stderr.write(f"{name} in ASSAY_DATA is nothing of ours, and not in the backup.")
        rows, files = sum(backup.about.rows.values()), len(backup.manifest.entries)
        self.stdout.write(
            f"{backup.manifest.name}: {rows:,} rows, {files:,} files, {size_in_words(backup.manifest.size)}, of which "
            f"{size_in_words(backup.sent)} copied now, in {time.monotonic() - started:.1f} s."
        )
        if keep:
            old, unused = backup_archive.drop_old(archive, keep, backup.manifest.name)
            self.stdout.write(f"{old} older backups deleted, and {unused} files that no other holds.")

    def _list(self, archive: ArtefactStore, is_read: bool) -> None:
        verified: set[str] = set()
        problems = 0
        for name in backup_archive.names(archive):
            try:
                manifest = archive.verify(name, verified=verified) if is_read else archive.manifest(name)
                with tempfile.TemporaryDirectory() as scratch:
                    about = backup_archive.about_of(archive, manifest, Path(scratch))
                whole = ", whole" if is_read else ""
                self.stdout.write(
                    f"{name}: {about.database}, {sum(about.rows.values()):,} rows, {len(manifest.entries):,} files, "
                    f"{size_in_words(manifest.size)}{whole}"
                )
            except StorageProblem as problem:
                problems += 1
                self.stderr.write(f"{name}: {problem.message} Make another backup; this one cannot be restored whole.")
        if problems:
            raise CommandError(f"{problems} damaged, each named above.", returncode=1)
