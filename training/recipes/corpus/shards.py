"""Write the files of a corpus, train-00000.jsonl … and validation.jsonl, which can be cut back to a checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

VALIDATION = "validation.jsonl"


class Shards:
    """Write a dataset's files. `sizes` are the bytes of each file that count; what lies beyond was written after the
    checkpoint."""

    def __init__(self, folder: Path, limit: int, sizes: dict[str, int]) -> None:
        self.folder, self.limit, self.sizes = folder, limit, dict(sizes)
        self._open: dict[str, IO[bytes]] = {}
        for path in folder.iterdir():
            if path.name not in self.sizes:
                path.unlink()
        for name, length in self.sizes.items():
            os.truncate(folder / name, length)

    def write(self, row: dict[str, Any], *, validation: bool) -> None:
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        name = VALIDATION if validation else self._shard(len(line))
        if name not in self._open:
            self._open[name] = (self.folder / name).open("ab")
        self._open[name].write(line)
        self.sizes[name] = self.sizes.get(name, 0) + len(line)

    def sync(self) -> dict[str, int]:
        """Write all of it to disk; return the sizes to remember."""
        for file in self._open.values():
            file.flush()
            os.fsync(file.fileno())
        return dict(self.sizes)

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open = {}

    def _shard(self, length: int) -> str:
        count = max(len(self.sizes) - (VALIDATION in self.sizes), 1)
        name = _name(count - 1)
        if self.sizes.get(name, 0) and self.sizes[name] + length > self.limit:
            if name in self._open:
                file = self._open.pop(name)
                file.flush()
                os.fsync(file.fileno())
                file.close()
            return _name(count)
        return name


def _name(number: int) -> str:
    return f"train-{number:05d}.jsonl"
