"""Bring an installation back from a backup: the files, each with its hash compared, and then the rows as a whole."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from annotate.core.artefacts import local_copies
from common import atomic_files
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.manifests import Manifest
from evaluation.installation.backup import backup_archive, database_copy
from evaluation.installation.backup.backup_archive import DATA, DATABASE, About
from evaluation.installation.backup.backup_files import FILES, FOLDERS

_MARK = ".restoring"  # holds the backup's name until all of it is here


def restore(archive: ArtefactStore, manifest: Manifest, say: Callable[[str], None]) -> About:
    """Fill an empty installation from a backup; one that was cut off goes on. Raises CommandError or StorageProblem."""
    with tempfile.TemporaryDirectory(prefix="assay-restore-") as work:
        scratch = Path(work)
        about = backup_archive.about_of(archive, manifest, scratch)
        database_copy.require_programs()
        _require_fitting(about)
        if _mark() != manifest.name:
            _require_no_tables()
        _bring_files(archive, manifest, say)
        if database_copy.is_empty():
            say("the database")
            _bring_rows(archive, manifest, scratch)
        _require_all_rows(about)
    (settings.DATA_DIR / _MARK).unlink()
    return about


def restore_files(archive: ArtefactStore, manifest: Manifest, say: Callable[[str], None]) -> About:
    """Bring the files alone back, to rows that came back by the database's own archive; one that was cut off goes on.
    Raises CommandError or StorageProblem."""
    with tempfile.TemporaryDirectory(prefix="assay-restore-") as scratch:
        about = backup_archive.about_of(archive, manifest, Path(scratch))
    _require_fitting(about)
    if database_copy.is_empty():
        raise CommandError("The database is empty: bring it back first, or call restore without --files.")
    _bring_files(archive, manifest, say)
    (settings.DATA_DIR / _MARK).unlink()
    return about


def restore_one(archive: ArtefactStore, manifest: Manifest, place: str) -> None:
    """Bring one folder or file back into an installation that stands. Raises CommandError or StorageProblem."""
    path = settings.DATA_DIR / place.rstrip("/")
    if not local_copies.name_of(path):
        raise CommandError(f"{place} does not lie below ASSAY_DATA.")
    if path.exists():
        raise CommandError(f"{path} is there: move it away, and try again.")
    archive.fetch_part(manifest, path, f"{DATA}/{local_copies.name_of(path)}")


def _bring_files(archive: ArtefactStore, manifest: Manifest, say: Callable[[str], None]) -> None:
    """Fill an empty ASSAY_DATA, and leave the mark in it; one that was cut off goes on."""
    if _mark() != manifest.name:
        _require_no_files()
        atomic_files.write_text(settings.DATA_DIR / _MARK, manifest.name)
    for place in backup_archive.places_of(manifest):
        if not (settings.DATA_DIR / place).exists():
            say(place)
            archive.fetch_part(manifest, settings.DATA_DIR / place, f"{DATA}/{place}")


def newer_here(about: About) -> bool:
    """Return whether this version has migrations that the backup's tables have not had."""
    return bool(_known_migrations() - set(about.migrations))


def _bring_rows(archive: ArtefactStore, manifest: Manifest, scratch: Path) -> None:
    (entry,) = manifest.below(DATABASE)
    copy = scratch / Path(entry.path).name
    archive.fetch_file(manifest.name, entry, copy)
    database_copy.bring_back(copy)


def _require_fitting(about: About) -> None:
    if about.database != connection.vendor:
        raise CommandError(
            f"The backup is of {about.database}, and DATABASE_URL is of {connection.vendor}: restore it into "
            f"{about.database}; manage.py move_to_database moves it from SQLite to Postgres then."
        )
    applied = {name for name in about.migrations if name.split(".")[0] in _apps()}
    if unknown := sorted(applied - _known_migrations()):
        raise CommandError(
            f"The backup was made by a later version, with {', '.join(unknown[:5])}: install that version and restore "
            "with it."
        )


def _apps() -> set[str]:
    return {app for app, _ in MigrationLoader(None).disk_migrations}


def _known_migrations() -> set[str]:
    """Return all migrations of this version, those that a squashed one replaces included."""
    loader = MigrationLoader(None)
    replaced = {name for migration in loader.disk_migrations.values() for name in migration.replaces}
    return {f"{app}.{name}" for app, name in {*loader.disk_migrations, *replaced}}


def _require_no_tables() -> None:
    if not database_copy.is_empty():
        raise CommandError(
            "The database has tables: restore into an empty one, before manage.py migrate. Name another in "
            "DATABASE_URL, or set this one aside. If Postgres' own archive brought it back, add --files."
        )


def _require_no_files() -> None:
    for name in (*FOLDERS, *FILES):
        if (settings.DATA_DIR / name).is_dir() and any((settings.DATA_DIR / name).iterdir()):
            raise CommandError(
                f"{settings.DATA_DIR / name} holds files: restore into an empty ASSAY_DATA, or set this one aside."
            )


def _require_all_rows(about: About) -> None:
    counts = database_copy.row_counts()
    differing = [table for table, count in about.rows.items() if counts.get(table) != count]
    if differing:
        raise CommandError(f"Not all rows are back: {', '.join(differing[:10])}. Empty the database and try again.")


def _mark() -> str:
    mark = settings.DATA_DIR / _MARK
    return mark.read_text(encoding="utf-8") if mark.exists() else ""
