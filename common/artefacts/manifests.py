"""The manifest of an artefact: its files with sizes and hashes, and a hash of itself. Written last, read first."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath

from common.artefacts.storage_problems import Damaged

_FORMAT = "assay artefact 1"


@dataclass(frozen=True)
class Entry:
    """One file: its place in the artefact (empty where the artefact is one file), bytes, sha256, and where it lies.

    `pool` is empty for the blobs that all artefacts share; else those of one artefact alone, deleted with it.
    """

    path: str
    size: int
    sha256: str
    pool: str = ""

    @property
    def title(self) -> str:
        return self.path or "the file"

    @property
    def blob(self) -> str:
        return f"{self.pool or 'blobs'}/{self.sha256[:2]}/{self.sha256}"


@dataclass(frozen=True)
class Manifest:
    name: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    def sizes(self) -> dict[str, int]:
        """Return the bytes by folder, the upper two of each; "" for files that are in none."""
        sizes: dict[str, int] = {}
        for entry in self.entries:
            folder = "/".join(entry.path.split("/")[:-1][:2])
            sizes[folder] = sizes.get(folder, 0) + entry.size
        return sizes

    def below(self, folder: str) -> tuple[Entry, ...]:
        """Return the entries of a folder of the artefact; all where `folder` is empty."""
        if not folder:
            return self.entries
        return tuple(entry for entry in self.entries if entry.path.startswith(f"{folder}/"))

    def entry(self, path: str) -> Entry | None:
        return next((entry for entry in self.entries if entry.path == path), None)

    def to_bytes(self) -> bytes:
        rows = [asdict(entry) for entry in self.entries]
        text = {"format": _FORMAT, "name": self.name, "files": rows, "sha256": _hash(self.name, rows)}
        return json.dumps(text, indent=1, ensure_ascii=False).encode() + b"\n"


def read(data: bytes, name: str) -> Manifest:
    """Return the manifest that `data` holds. Raises Damaged for one that is truncated, changed or another's."""
    try:
        row = json.loads(data)
        manifest = Manifest(row["name"], tuple(Entry(**entry) for entry in row["files"]))
        is_whole = row["sha256"] == _hash(row["name"], row["files"]) and row["format"] == _FORMAT
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(name, "its manifest", "cannot be read") from error
    if not is_whole or manifest.name != name or not all(map(_is_inside, manifest.entries)):
        raise Damaged(name, "its manifest", "does not have the hash that it was stored with")
    return manifest


def _is_inside(entry: Entry) -> bool:
    """Return whether a file's place is inside its artefact: whoever writes to the storage writes nowhere else."""
    parts = PurePosixPath(entry.path).parts
    is_hash = len(entry.sha256) == 64 and entry.sha256.isalnum()
    return is_hash and ".." not in (*parts, *PurePosixPath(entry.pool).parts) and not entry.path.startswith("/")


def _hash(name: str, rows: list[dict]) -> str:
    text = json.dumps([_FORMAT, name, rows], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
