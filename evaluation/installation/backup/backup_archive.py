"""The place that backups lie in: each is one artefact, whose files are shared with all others by their content.

manifests/backups/<moment>.json   written last: without it there is no backup
blobs/ab/abcd…                    files, each once
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from annotate.core.artefacts import local_copies
from common.artefacts import blob_sweep
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from common.artefacts.manifests import Manifest
from common.artefacts.storage_problems import NotStored
from common.file_lock import try_lock

FOLDER, ABOUT, DATA, DATABASE = "backups", "backup.json", "data", "database"
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class About:
    """Hold what a backup says of itself."""

    made_at: str
    database: str  # sqlite or postgresql
    migrations: list[str]
    rows: dict[str, int]
    storage: str = ""  # the ASSAY_STORAGE that has what is not in it
    missing: list[str] = field(default_factory=list)  # what rows named and was not there
    unstable: list[str] = field(default_factory=list)  # directories of runs under way that changed too fast
    format: int = 1

    def to_text(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def open_archive(address: str) -> ArtefactStore:
    """Return the archive at an address. Raises CommandError for a place that would be lost with the installation."""
    if "://" not in address:
        path = Path(address).resolve()
        if path.is_relative_to(settings.DATA_DIR):
            raise CommandError(f"{path} lies in ASSAY_DATA and would be lost with it: name another disk or s3://….")
        if not path.is_dir():
            raise CommandError(f"{path} is not there. Make the folder; if it is on another disk, mount it before.")
        address = str(path)
    if address.rstrip("/") == settings.STORAGE:
        raise CommandError("That is ASSAY_STORAGE itself: name another place.")
    return ArtefactStore(FileSystem(address, patience=_PATIENCE_SECONDS))


def new_name(now: datetime | None = None) -> str:
    moment = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%S%f")
    return f"{FOLDER}/{moment[:-3]}Z"


def names(archive: ArtefactStore) -> list[str]:
    """Return the whole backups, the oldest first."""
    return archive.names(FOLDER)


def manifest_of(archive: ArtefactStore, name: str = "") -> Manifest:
    """Return the manifest of the backup of that name, or of the newest. Raises CommandError where there is none."""
    known = names(archive)
    if not known:
        raise CommandError(f"{archive.address} holds no whole backup.")
    chosen = f"{FOLDER}/{name.removeprefix(f'{FOLDER}/')}" if name else known[-1]
    if chosen not in known:
        raise CommandError(f"{archive.address} holds no backup {name}; manage.py backup TARGET --list names them.")
    return archive.manifest(chosen)


def about_of(archive: ArtefactStore, manifest: Manifest, scratch: Path) -> About:
    """Read what a backup says of itself. Raises StorageProblem."""
    entry = manifest.entry(ABOUT)
    if entry is None:
        raise NotStored(f"{manifest.name}/{ABOUT}", archive.address)
    archive.fetch_file(manifest.name, entry, scratch / ABOUT)
    return About(**json.loads((scratch / ABOUT).read_text(encoding="utf-8")))


def places_of(manifest: Manifest) -> list[str]:
    """Return the parts below ASSAY_DATA that a backup holds, as `backup_files` divides them."""
    places: dict[str, None] = {}
    for entry in manifest.below(DATA):
        top, *rest = entry.path.split("/")[1:]
        is_folder = top in ("datasets", "models", "runs") and len(rest) > 1
        places["/".join([top, rest[0]]) if is_folder else entry.path.removeprefix(f"{DATA}/")] = None
    return list(places)


def applied_migrations() -> list[str]:
    applied = MigrationRecorder(connection).applied_migrations()
    return sorted(f"{app}.{name}" for app, name in applied)


def drop_old(archive: ArtefactStore, keep: int, made: str) -> tuple[int, int]:
    """Delete all backups but the newest ones, and the files that none of those holds; return how many of each. The one
    that was just `made` is the newest, whatever the clock says. What a backup that was killed left half goes after some
    days.

    Raises CommandError while another is being made, which may rely on such files, and StorageProblem for a manifest
    that cannot be read; then it deletes no file.
    """
    with alone():
        blob_sweep.delete_partials(archive.files, datetime.now(UTC))
        known = sorted(names(archive), key=lambda name: (name == made, name))
        obsolete = known[:-keep]
        for name in obsolete:
            archive.delete(name)
        if not obsolete:
            return 0, 0
        kept = {entry.blob for name in archive.names() for entry in archive.manifest(name).entries}
        unused = [blob for blob in archive.files.names("blobs") if blob not in kept]
        for blob in unused:
            archive.files.delete(blob)
        return len(obsolete), len(unused)


@contextmanager
def alone() -> Iterator[None]:
    """Let nobody else make a backup of this installation or delete old ones. Raises CommandError where somebody
    does."""
    with (settings.DATA_DIR / ".backup.lock").open("w") as file:
        if not try_lock(file):
            raise CommandError("Another backup of this installation is being made: wait for it.")
        yield


def storage_address() -> str:
    return settings.STORAGE if local_copies.is_on() else ""
