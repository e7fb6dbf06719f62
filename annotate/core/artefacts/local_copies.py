"""Bring what lies below ASSAY_DATA from the storage where it is not on this host, and keep there what was made here.

An artefact is called as it lies below ASSAY_DATA: `models/base`, `datasets/<hash>`, `runs/000012`. Without
ASSAY_STORAGE nothing here does anything: what a path names is here, or it is nowhere.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from common.artefacts import covering as coverings
from common.artefacts.artefact_store import ArtefactStore, Rules
from common.artefacts.file_systems import FileSystem
from common.artefacts.manifests import Manifest
from common.artefacts.storage_problems import StorageProblem

OWN = Rules(is_own=lambda path: True)  # for what is deleted one day: no other artefact shares its bytes
PATIENCE_SECONDS = 10.0  # with a storage that does not answer; whoever can wait for longer asks again
GLIMPSES = "glimpses"  # below ASSAY_DATA: single files of folders that are not here
_stored: set[tuple[str, str]] = set()  # what was seen in a storage: that it is there holds, that it is not may change
log = logging.getLogger("assay.storage")


def is_on() -> bool:
    return bool(settings.STORAGE)


def store() -> ArtefactStore:
    """Return the storage; only where there is one. Raises StorageProblem."""
    return _opened(settings.STORAGE)


@lru_cache(maxsize=8)
def _opened(address: str) -> ArtefactStore:
    return ArtefactStore(FileSystem(address, patience=PATIENCE_SECONDS))


def name_of(path: Path) -> str:
    """Return what an artefact at a path is called; empty for a path that is not below ASSAY_DATA."""
    is_inside = path.is_relative_to(settings.DATA_DIR) and ".." not in path.parts
    return path.relative_to(settings.DATA_DIR).as_posix() if is_inside else ""


def keep(path: Path, rules: Rules | None = None, may_write: Callable[[], None] = lambda: None) -> None:
    """Store a folder or a file under its name. Returns when it is stored as a whole; raises StorageProblem."""
    if is_on() and (name := name_of(path)):
        store().put(name, path, rules, may_write=may_write)


def bring(path: Path) -> None:
    """Fetch a folder or a file that is not here. What the storage has not either is left to the caller to tell.
    Raises StorageProblem."""
    if not is_on() or path.exists():
        return
    if coverings.bring(store(), settings.DATA_DIR, name_of(path)):
        log.info("brought %s from %s", name_of(path), store().address)


def bring_below(folder: Path) -> None:
    """Fetch every artefact whose name begins with a folder's, where it is not here. Raises StorageProblem."""
    if is_on():
        for name in store().names(name_of(folder)):
            bring(settings.DATA_DIR / name)


def bring_file(path: Path) -> Path:
    """Return where one file of a folder is: at its own place, or a copy aside, fetched where it is not here.

    The folder itself does not come into being by this: it is here as a whole or not at all. A path where nothing is
    comes back for a file that is nowhere. Raises StorageProblem.
    """
    if not is_on() or path.exists() or (manifest := covering(path)) is None:
        return path
    entry = manifest.entry(_place_in(manifest, path))
    if entry is None:
        return path
    copy = settings.DATA_DIR / GLIMPSES / name_of(path)
    if not copy.exists() or copy.stat().st_size != entry.size or _hash_of(copy) != entry.sha256:
        partial = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}.partial")  # two pages may ask at the same moment
        store().fetch_file(manifest.name, entry, partial)
        partial.replace(copy)
    return copy


def glimpse(path: Path) -> Path:
    """Do as `bring_file`, for a part of a page that the page can be without: a storage that fails is as no file."""
    try:
        return bring_file(path)
    except StorageProblem as problem:
        log.warning("%s", problem)
        return path


def stored_size(path: Path) -> int:
    """Return the bytes that a folder has in the storage; 0 where it has none, or does not answer: a page can be without
    them."""
    try:
        manifest = covering(path) if is_on() else None
    except StorageProblem as problem:
        log.warning("%s", problem)
        return 0
    return sum(entry.size for entry in manifest.below(_place_in(manifest, path))) if manifest else 0


def sizes_below(folder: Path) -> dict[Path, dict[str, int]]:
    """Return the bytes of the artefacts whose names begin with a folder's, by their folders, the upper two of each;
    nothing where the storage does not answer: a page can be without them."""
    try:
        found = store().sizes(name_of(folder)) if is_on() else {}
    except StorageProblem as problem:
        log.warning("%s", problem)
        return {}
    return {settings.DATA_DIR / name: sizes for name, sizes in found.items()}


def stored_below(folder: Path) -> dict[Path, int]:
    """Return the paths of the artefacts whose names begin with a folder's, with their bytes. Raises StorageProblem."""
    if not is_on():
        return {}
    return {settings.DATA_DIR / name: store().manifest(name).size for name in store().names(name_of(folder))}


def older_below(folder: Path, before: datetime) -> list[Path]:
    """Return the paths of those that were stored before that moment."""
    if not is_on():
        return []
    return [settings.DATA_DIR / name for name in store().names(name_of(folder)) if store().stored_at(name) < before]


def is_available(path: Path) -> bool:
    """Return whether a folder or a file is here or can be brought. Raises StorageProblem."""
    if path.exists() or not is_on():
        return path.exists()
    key = (settings.STORAGE, name_of(path))
    if key not in _stored and _is_stored(path):
        _stored.add(key)
    return key in _stored


def forget(path: Path) -> None:
    """Delete an artefact from the storage."""
    if is_on() and (name := name_of(path)):
        store().delete(name)


def covering(path: Path) -> Manifest | None:
    """Return the manifest of the artefact that a path is, or is in; None where none is stored. Raises
    StorageProblem."""
    return coverings.covering(store(), name_of(path))


def _is_stored(path: Path) -> bool:
    manifest = covering(path)
    return manifest is not None and bool(manifest.below(_place_in(manifest, path)))


def _place_in(manifest: Manifest, path: Path) -> str:
    return coverings.place_in(manifest, name_of(path))


def _hash_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
