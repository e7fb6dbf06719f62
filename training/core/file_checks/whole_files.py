"""Tell files that were cut off from whole ones without reading what they hold. Knows no torch."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

_LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself allows
_TAIL = 1 << 16


def broken_files(folder: Path) -> Iterator[Path]:
    """Yield the weights and states below a folder that are shorter than they say, or cannot be read."""
    for path in sorted(folder.rglob("*")):
        is_whole = {".safetensors": _is_whole_safetensors, ".pt": zipfile.is_zipfile}.get(path.suffix)
        if is_whole is not None and path.is_file() and not is_whole(path):
            yield path


def last_sequence(path: Path) -> int:
    """Return the number of the last whole line of a log; 0 where there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL))
        lines = file.read().split(b"\n")
    whole = [line for line in lines[:-1] if line.startswith(b"{")]
    return int(json.loads(whole[-1])["sequence"]) if whole else 0


def _is_whole_safetensors(path: Path) -> bool:
    """Return whether the file is as long as its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            return False
        try:
            header = json.loads(file.read(length))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
    return size == 8 + length + max(ends, default=0)
