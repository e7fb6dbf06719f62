"""Make one backup: the rows in one snapshot, then the files, and the manifest when all of them are there."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection

from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.manifests import Entry, Manifest
from common.artefacts.storage_problems import Unstable
from evaluation.installation.backup import backup_archive, backup_files, database_copy
from evaluation.installation.backup.backup_archive import ABOUT, DATA, DATABASE, About


@dataclass(frozen=True)
class Backup:
    manifest: Manifest
    about: About
    sent: int  # bytes that were not in the archive before


def back_up(archive: ArtefactStore, say: Callable[[str], None]) -> Backup:
    """Write a backup and return it. Raises CommandError or StorageProblem, and then there is none."""
    database_copy.require_programs()
    before = archive.sent_bytes
    with backup_archive.alone(), _work_folder() as work:
        scratch = Path(work)
        copy = scratch / database_copy.file_name()
        say("the database")
        made_at = datetime.now(UTC)
        rows = database_copy.copy_to(copy)
        # Now: files take long, and meanwhile somebody may upgrade, freeze datasets or delete models.
        migrations, named = backup_archive.applied_migrations(), backup_files.named_places()
        entries = list(archive.put_part(f"{DATABASE}/{copy.name}", copy))
        copy.unlink()
        unstable = _put_files(archive, entries, made_at, say)
        taken = {entry.path.removeprefix(f"{DATA}/") for entry in entries}
        about = About(
            made_at=made_at.isoformat(timespec="seconds"),
            database=connection.vendor,
            migrations=migrations,
            rows=rows,
            storage=backup_archive.storage_address(),
            missing=[place for place in backup_files.missing_of(named, taken) if place not in unstable],
            unstable=unstable,
        )
        (scratch / ABOUT).write_text(about.to_text(), encoding="utf-8")
        entries += archive.put_part(ABOUT, scratch / ABOUT)
    manifest = Manifest(backup_archive.new_name(made_at), tuple(entries))
    archive.write(manifest)
    return Backup(manifest, about, archive.sent_bytes - before)


@contextmanager
def _work_folder() -> Iterator[str]:
    """Give a folder in TMPDIR for the copy of the database. What a backup of this installation that was killed has left
    there goes before: nobody else makes one now."""
    installation = hashlib.sha256(str(settings.DATA_DIR).encode()).hexdigest()[:12]
    prefix = f"assay-backup-{installation}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=prefix) as work:
        yield work


def _put_files(
    archive: ArtefactStore, entries: list[Entry], began_at: datetime, say: Callable[[str], None]
) -> list[str]:
    """Add the entries of all parts; return the places of runs under way that changed too fast to be copied."""
    unstable = []
    for part in backup_files.parts():
        say(part.place)
        try:
            entries += archive.put_part(f"{DATA}/{part.place}", part.path, part.rules)
        except Unstable:
            if part.path.exists() and not backup_files.may_change(part.path, began_at):
                raise
            if part.path.exists():  # else somebody deleted it since it was listed
                unstable.append(part.place)
    return unstable
