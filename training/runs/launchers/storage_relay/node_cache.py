"""Bound what a node keeps on its disk of earlier runs: models, datasets and run directories, the longest unused first.

Nothing goes while another run works on this node: each holds a shared lock on `ASSAY_DATA/node/in-use`, and who deletes
an exclusive one. A run that waits for its worker does not hold it yet: its directory stays by the time it was used, or
by its own lock. What went is fetched from the storage again when a run needs it. What an attempt could not store, such
as its last checkpoint, is lost with its directory: the run then goes on from what is stored.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from common.file_lock import try_lock

LIMIT = "ASSAY_NODE_CACHE_GB"
_LOCK, _GB = "in-use", 1e9
_PAUSE = 0.2
_BEGINNING = 300.0  # seconds; an attempt waits two leases for its worker (60 by default), then locks its directory


def enter(root: Path, keep: Path, limit_bytes: float) -> IO[str]:
    """Return the lock of a run on this node, held until the file is closed. Where no other run is here, first delete
    what is too much, but for `keep`, the run's own directory."""
    root.mkdir(parents=True, exist_ok=True)
    file = (root / _LOCK).open("a")
    if try_lock(file):
        _clean(root, keep, limit_bytes)
    while not try_lock(file, shared=True):
        time.sleep(_PAUSE)
    return file


def limit_bytes() -> float:
    """Return the bytes that a node may keep; infinite where the operator says 0."""
    return float(os.environ.get(LIMIT, "200")) * _GB or float("inf")


def note_use(root: Path, name: str) -> None:
    """Note that an artefact, or part of one, was used now."""
    path = root / "/".join(name.split("/")[:2])
    if path.exists():
        os.utime(path)


def _clean(root: Path, keep: Path, limit: float) -> None:
    for path in root.glob(".*"):  # left by processes that are gone
        _delete(path)
    used = {path: path.stat().st_mtime for path in _artefacts(root) if path != keep}
    sizes = {path: _size(path) for path in used}
    excess = sum(sizes.values()) - limit
    for path in sorted(used, key=used.__getitem__):
        if excess <= 0:
            return
        if path.stat().st_mtime != used[path] or _may_begin(path):
            continue
        excess -= sizes[path]
        print(f"{path.relative_to(root)} is deleted from this node: it keeps {limit / _GB:g} GB.", flush=True)
        gone = root / f".gone.{uuid.uuid4().hex}"
        path.rename(gone)  # at once, so that a run that begins now does not find half of it
        _delete(gone)


def _may_begin(path: Path) -> bool:
    """Return whether this is a run's directory in which an attempt works, or waits for its worker."""
    if path.parent.name != "runs":
        return False
    if time.time() - path.stat().st_mtime < _BEGINNING:
        return True
    lock = path / "lock"
    if not lock.exists():
        return False
    with lock.open("a") as file:
        return not try_lock(file)


def _artefacts(root: Path) -> Iterator[Path]:
    for folder in root.iterdir():
        if folder.is_dir():
            yield from folder.iterdir()


def _size(path: Path) -> float:
    """Return the bytes that deleting it brings back, about: of a file with several names each has its share."""
    files = [path] if path.is_file() else [Path(home, name) for home, _, names in os.walk(path) for name in names]
    size = 0.0
    for file in files:
        with suppress(FileNotFoundError):  # replaced by a run that begins
            status = file.lstat()
            size += status.st_size / status.st_nlink
    return size


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
