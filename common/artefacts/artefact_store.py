"""Put whole artefacts into a storage and fetch them: files by the hash of their content, and the manifest last.

    manifests/runs/000012.json       what the artefact is made of
    blobs/ab/abcd…                   a file's bytes, under their sha256; artefacts share them
    own/runs/000012/ab/abcd…         files that come and go with one artefact alone, such as checkpoints

An artefact exists when its manifest does. Whoever dies in between leaves blobs that the next try finds. Blobs that no
manifest names any more are deleted after some days (`blob_sweep`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from common.artefacts import condemned_blobs, manifests
from common.artefacts.file_systems import BLOCK, FileSystem
from common.artefacts.manifests import Entry, Manifest
from common.artefacts.storage_problems import Damaged, NotStored, Unstable

_TRIES = 5  # at files that change while they are read
_REMEMBERED = 100_000  # hashes of files


class FileChanged(Exception):
    """Raised when a file is not any more what it was when it was hashed."""


@dataclass(frozen=True)
class Rules:
    """Which files of a folder are part of an artefact. `is_own` says which of them lie in its own pool."""

    is_part: Callable[[str], bool] = lambda path: True
    is_own: Callable[[str], bool] = lambda path: False


class ArtefactStore:
    def __init__(self, files: FileSystem) -> None:
        self.files = files
        self._hashes: dict[tuple[int, ...], str] = {}  # by device, inode, size and time
        self._sizes: dict[str, tuple[str, dict[str, int]]] = {}  # by name: the manifest's version, and bytes by folder
        self._lock = threading.Lock()
        self.sent_bytes = 0  # since it was opened

    @property
    def address(self) -> str:
        return self.files.address

    def put(
        self,
        name: str,
        path: Path,
        rules: Rules | None = None,
        *,
        may_write: Callable[[], None] = lambda: None,
        is_trusting: bool = True,
    ) -> Manifest:
        """Store a folder or a file as the artefact `name`, in place of what had that name.

        `may_write` is called before the manifest is written and raises to keep it back. Without `is_trusting`, blobs
        that are there are written again. Raises StorageProblem.
        """
        rules = rules or Rules()
        before = self._standing(name)
        begun, entries = condemned_blobs.clock(), self._put_steadily(name, path, rules, is_trusting)
        while condemned_blobs.clock() - begun > condemned_blobs.LONGEST_PUT:  # what it found there may be gone by now
            begun, entries = condemned_blobs.clock(), self._put_steadily(name, path, rules, is_trusting)
        manifest = Manifest(name, entries)
        may_write()
        # Of what is deleted one day, the time of its manifest says that somebody still wants it.
        if manifest != before or not is_trusting or any(entry.pool for entry in entries):
            self.files.write(_manifest(name), lambda: iter([manifest.to_bytes()]))
        self._delete_own(name, keep={entry.blob for entry in entries}, of=before)
        return manifest

    def put_part(self, place: str, path: Path, rules: Rules | None = None) -> tuple[Entry, ...]:
        """Store the blobs of a folder or a file, and return its entries at `place` in an artefact of several parts,
        which `write` makes of them: for a storage that nobody sweeps. Raises StorageProblem."""
        entries = self._put_steadily(place, path, rules or Rules(), is_trusting=True)
        return tuple(replace(entry, path=f"{place}/{entry.path}" if entry.path else place) for entry in entries)

    def write(self, manifest: Manifest) -> None:
        """Make an artefact of blobs that are stored."""
        self.files.write(_manifest(manifest.name), lambda: iter([manifest.to_bytes()]))

    def has(self, name: str) -> bool:
        return self.files.size_of(_manifest(name)) is not None

    def manifest(self, name: str) -> Manifest:
        """Return what an artefact is made of. Raises NotStored or Damaged."""
        try:
            return manifests.read(self.files.read(_manifest(name)), name)
        except FileNotFoundError as error:
            raise NotStored(name, self.address) from error

    def stored_at(self, name: str) -> datetime:
        """Return when an artefact was last put, by the storage's clock. Raises FileNotFoundError."""
        return self.files.modified(_manifest(name))

    def names(self, folder: str = "") -> list[str]:
        """List the artefacts whose names begin with a folder."""
        return [name for place in self.files.names(_manifests(folder)) if (name := _name_at(place))]

    def sizes(self, folder: str = "") -> dict[str, dict[str, int]]:
        """Return the bytes of the artefacts whose names begin with a folder's, by their folders, the upper two of each;
        "" for files that are in none. Only manifests that have changed are read. Raises StorageProblem."""
        found = {}
        for place, version in self.files.versions(_manifests(folder)).items():
            if name := _name_at(place):
                known, sizes = self._sizes.get(name, ("", {}))
                if known != version:
                    standing = self._standing(name)
                    sizes = standing.sizes() if standing else {}
                    self._sizes[name] = version, sizes
                found[name] = sizes
        return found

    def fetch(self, name: str, into: Path, folder: str = "") -> Manifest:
        """Bring an artefact, or one folder of it, to `into`, which is whole when it has that name. Each file's hash is
        compared. What stands at `into` meanwhile stays. Raises StorageProblem, and then nothing is at `into`."""
        manifest = self.manifest(name)
        self.fetch_part(manifest, into, folder)
        return manifest

    def fetch_part(self, manifest: Manifest, into: Path, folder: str = "") -> None:
        """Do as `fetch`, by a manifest that was read before. `folder` may be one file."""
        name = manifest.name
        entries = manifest.below(folder) or tuple(entry for entry in manifest.entries if entry.path == folder)
        if not entries:
            raise NotStored(f"{name}/{folder}", self.address)
        into.parent.mkdir(parents=True, exist_ok=True)
        partial = into.with_name(f".{into.name}.{uuid.uuid4().hex}.partial")
        try:
            for entry in entries:
                place = entry.path[len(folder) + 1 :] if folder else entry.path
                self.fetch_file(name, entry, partial / place if place else partial)
            _put_in_place(partial, into)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
            if partial.is_file():
                partial.unlink()

    def fetch_file(self, name: str, entry: Entry, target: Path) -> None:
        """Bring one file; `target` is the caller's own name for it until it is whole. Raises Damaged."""
        target.parent.mkdir(parents=True, exist_ok=True)

        def take(blocks: Iterator[bytes]) -> tuple[int, str]:
            with target.open("wb") as file:
                measured = _copy(blocks, file)
                file.flush()
                os.fsync(file.fileno())
            return measured

        self._check(name, entry, take)

    def verify(self, name: str, *, reads: bool = True, verified: set[str] | None = None) -> Manifest:
        """Read a whole artefact and compare every hash, or only sizes. Raises NotStored or Damaged.

        Blobs that are in `verified` are passed over, and those that are whole are added: artefacts share them.
        """
        manifest, verified = self.manifest(name), set() if verified is None else verified
        for entry in manifest.entries:
            if entry.blob not in verified:
                if reads:
                    self._check(name, entry, lambda blocks: _copy(blocks, None))
                else:
                    self._check_size(name, entry, self.files.size_of(entry.blob))
                verified.add(entry.blob)
        return manifest

    def drop(self, name: str, is_dropped: Callable[[str], bool]) -> None:
        """Take files out of an artefact that nobody writes to any more, and whatever else its own pool holds."""
        before = self.manifest(name)
        manifest = Manifest(name, tuple(entry for entry in before.entries if not is_dropped(entry.path)))
        if manifest != before:
            self.files.write(_manifest(name), lambda: iter([manifest.to_bytes()]))
        named = {entry.blob for entry in manifest.entries}
        for blob in self.files.names(_own_pool(name)):
            if blob not in named:
                self.files.delete(blob)

    def delete(self, name: str) -> None:
        """Delete an artefact and the files of its own pool. Blobs stay: others may share them."""
        self.files.delete(_manifest(name))
        for blob in self.files.names(_own_pool(name)):
            self.files.delete(blob)

    def _check(self, name: str, entry: Entry, take: Callable[[Iterator[bytes]], tuple[int, str]]) -> None:
        try:
            size, digest = self.files.copy_out(entry.blob, take)
        except FileNotFoundError as error:
            raise Damaged(name, entry.title, "is gone") from error
        self._check_size(name, entry, size)
        if digest != entry.sha256:
            raise Damaged(name, entry.title, "does not have the hash that it was stored with")

    def _check_size(self, name: str, entry: Entry, size: int | None) -> None:
        if size is None:
            raise Damaged(name, entry.title, "is gone")
        if size != entry.size:
            raise Damaged(name, entry.title, f"has {size:,} bytes where {entry.size:,} were stored")

    def _put_steadily(self, name: str, path: Path, rules: Rules, is_trusting: bool) -> tuple[Entry, ...]:
        for _ in range(_TRIES):
            try:
                return tuple(self._put_files(name, path, rules, is_trusting))
            except (FileChanged, FileNotFoundError) as error:
                changed = str(error)
        raise Unstable(name, changed)

    def _put_files(self, name: str, path: Path, rules: Rules, is_trusting: bool) -> Iterator[Entry]:
        pool, condemned = _own_pool(name), condemned_blobs.condemned(self.files)
        for relative in [""] if path.is_file() else files_below(path, rules):
            place = pool if rules.is_own(relative) else ""
            yield self._put_file(path / relative, relative, place, is_trusting, pool, condemned)

    def _put_file(
        self, path: Path, relative: str, pool: str, is_trusting: bool, own_pool: str, condemned: Collection[str]
    ) -> Entry:
        """Store one file as it is now: what is appended meanwhile comes with the next time. What is `condemned` to be
        deleted is stored anew, in the artefact's own pool."""
        with path.open("rb") as file:  # one handle for all: what is put in its place meanwhile is another file
            status = os.fstat(file.fileno())
            entry = Entry(relative, status.st_size, self._hash_of(file, status), pool)
            if entry.blob in condemned:
                entry = replace(entry, pool=own_pool)
            if not is_trusting or self.files.size_of(entry.blob) != entry.size:
                self.files.write(entry.blob, lambda: _checked_blocks(file, entry, path))
                self.sent_bytes += entry.size
        return entry

    def _hash_of(self, file: BinaryIO, status: os.stat_result) -> str:
        key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            if digest := self._hashes.get(key):
                return digest
        size, digest = _copy(_blocks_of(file, status.st_size), None)
        if size != status.st_size:
            raise FileChanged(file.name)
        with self._lock:
            if len(self._hashes) >= _REMEMBERED:
                self._hashes.clear()
            self._hashes[key] = digest
        return digest

    def _standing(self, name: str) -> Manifest | None:
        """Return the manifest that there is; a damaged one is as none: it is written anew."""
        try:
            return self.manifest(name)
        except (NotStored, Damaged):
            return None

    def _delete_own(self, name: str, *, keep: set[str], of: Manifest | None) -> None:
        """Delete the files of an artefact's own pool that only the earlier manifest named."""
        if of is not None:
            for blob in {entry.blob for entry in of.entries if entry.pool} - keep:
                self.files.delete(blob)


def _manifest(name: str) -> str:
    return f"manifests/{name}.json"


def _manifests(folder: str) -> str:
    return f"manifests/{folder}" if folder else "manifests"


def _name_at(place: str) -> str:
    """Return whose manifest lies there; "" for what is none."""
    return place.removeprefix("manifests/").removesuffix(".json") if place.endswith(".json") else ""


def _own_pool(name: str) -> str:
    return f"own/{name}"


def files_below(folder: Path, rules: Rules) -> list[str]:
    """List the files of a folder by their relative names. The folder itself is listed before what it holds: a recipe's
    result, once seen, has its model beside it."""
    found = []
    for home, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            path = Path(home, file)
            relative = path.relative_to(folder).as_posix()
            if not file.startswith(".") and not path.is_symlink() and path.is_file() and rules.is_part(relative):
                found.append(relative)
    if not folder.is_dir():
        raise FileNotFoundError(str(folder))
    return sorted(found)


def _checked_blocks(file: BinaryIO, entry: Entry, path: Path) -> Iterator[bytes]:
    """Yield a file's bytes; raises FileChanged, and nothing is stored, where they are not those of its hash."""
    digest = hashlib.sha256()
    for block in _blocks_of(file, entry.size):
        digest.update(block)
        yield block
    if digest.hexdigest() != entry.sha256:
        raise FileChanged(str(path))


def _blocks_of(file: BinaryIO, size: int) -> Iterator[bytes]:
    file.seek(0)
    while size > 0 and (block := file.read(min(BLOCK, size))):
        size -= len(block)
        yield block


def _copy(blocks: Iterator[bytes], into: BinaryIO | None) -> tuple[int, str]:
    """Return the bytes and the sha256 of what went by, written to `into` where one is given."""
    digest, size = hashlib.sha256(), 0
    for block in blocks:
        digest.update(block)
        size += len(block)
        if into is not None:
            into.write(block)
    return size, digest.hexdigest()


def _put_in_place(partial: Path, into: Path) -> None:
    try:
        if partial.is_dir():
            partial.rename(into)
        else:
            into.hardlink_to(partial)
    except OSError:
        if not into.exists():  # else somebody brought it at the same moment: theirs is as good
            raise
