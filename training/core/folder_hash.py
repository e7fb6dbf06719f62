"""Name a folder by its content: the hash of a model's or a dataset's files with their names. Pure."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 22


def folder_hash(folder: Path) -> str:
    """Return the sha256 of all files below a folder, with their relative names, in order of their names."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
