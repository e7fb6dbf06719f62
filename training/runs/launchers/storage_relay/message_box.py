"""The messages of one run in the storage: small objects, each replaced as a whole."""

from __future__ import annotations

import json
from typing import Any

from common.artefacts.file_systems import FileSystem

Row = dict[str, Any]


class MessageBox:
    """All objects below one name, such as `nodes/000012-1a2b3c`. Every call raises StorageProblem."""

    def __init__(self, files: FileSystem, name: str) -> None:
        self._files, self.name = files, name

    def read(self, name: str) -> Row | None:
        """Return a message; None where there is none, or what is there cannot be read."""
        try:
            row = json.loads(self.read_bytes(name))
        except (FileNotFoundError, ValueError):
            return None
        return row if isinstance(row, dict) else None

    def read_bytes(self, name: str) -> bytes:
        """Return an object's bytes. Raises FileNotFoundError."""
        return self._files.read(f"{self.name}/{name}")

    def has(self, name: str) -> bool:
        return self._files.size_of(f"{self.name}/{name}") is not None

    def write(self, name: str, row: Row) -> None:
        self.write_bytes(name, json.dumps(row).encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        self._files.write(f"{self.name}/{name}", lambda: iter([data]))

    def names(self, folder: str = "") -> list[str]:
        """List the names of the messages, sorted; those below a folder, where one is named."""
        below = f"{self.name}/{folder}" if folder else self.name
        return [name.removeprefix(f"{self.name}/") for name in self._files.names(below)]

    def delete(self, name: str) -> None:
        self._files.delete(f"{self.name}/{name}")
