"""Store the files of a dataset: rows as JSONL in a folder named by their hash, complete as soon as it has that name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from django.conf import settings

from annotate.core.artefacts import local_copies
from common import atomic_files

Row = dict[str, Any]


class Rows(Protocol):
    """Rows that can be counted before anybody goes through them, and gone through as often as one likes."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Row]: ...


def content_hash(files: Mapping[str, Rows], *, kind: str, side: str) -> str:
    """Return the sha256 of the rows in canonical form: keys sorted, no spaces, UTF-8."""
    return _go_through(files, kind, side, lambda name, rows: deque(rows, maxlen=0))


def _go_through(files: Mapping[str, Rows], kind: str, side: str, take: Callable[[str, Iterator[Row]], object]) -> str:
    """Have each file's rows taken, once, and return their hash."""
    digest = hashlib.sha256(f"assay dataset 1 {kind} {side}\n".encode())

    def hashed(rows: Rows) -> Iterator[Row]:
        for row in rows:
            digest.update(_canonical(row).encode() + b"\n")
            yield row

    for name in sorted(files):
        digest.update(f"{name} {len(files[name])}\n".encode())
        take(name, hashed(files[name]))
    return digest.hexdigest()


def write(files: Mapping[str, Rows], *, kind: str, side: str, before_storing: Callable[[], None] = lambda: None) -> str:
    """Write a folder with one `<name>.jsonl` for each file, or find an existing one; return its hash. The rows are gone
    through once, one of them in memory at a time.

    `before_storing` is called when all lines are written, and again before the folder is kept in the storage. Where it
    raises the first time, nothing is left behind. A folder that has its name stays, as somebody else may have found it.
    """
    with _new_folder() as partial:
        name = _go_through(files, kind, side, lambda file, rows: _write_lines(partial / f"{file}.jsonl", rows))
        before_storing()
        _name_folder(partial, name)
    before_storing()
    local_copies.keep(settings.DATASETS_DIR / name)
    return name


def write_streamed(
    files: dict[str, Iterable[Row]], *, kind: str, side: str, check: Callable[[str], None] = lambda name: None
) -> str:
    """Write as `write` does, with the same hash for the same rows, where nobody knows how many they are. `check` is
    called with the hash when all lines are written: where it raises, nothing is left behind."""
    with _new_folder() as partial:
        for file, rows in files.items():
            _write_lines(partial / f"{file}.jsonl", rows)
        name = hash_of_files(partial, sorted(files), kind=kind, side=side)
        check(name)
        _name_folder(partial, name)
    local_copies.keep(settings.DATASETS_DIR / name)
    return name


@contextmanager
def _new_folder() -> Iterator[Path]:
    """Give a hidden folder to fill and name. Unnamed, it is gone at the end."""
    partial = settings.DATASETS_DIR / f".{uuid.uuid4().hex}.partial"
    partial.mkdir(parents=True)
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    atomic_files.sync_folder(settings.DATASETS_DIR)


def _name_folder(partial: Path, name: str) -> None:
    """Give a complete folder its name, unless there is one: its rows are the same."""
    final = settings.DATASETS_DIR / name
    try:
        if not final.exists():
            partial.rename(final)
    except OSError:
        if not final.exists():  # else its twin was faster
            raise


def hash_of_files(folder: Path, names: list[str], *, kind: str, side: str) -> str:
    """Return `content_hash` of the rows that lie in a folder, one row in memory at a time."""
    return content_hash({name: _WrittenRows(folder, name) for name in names}, kind=kind, side=side)


@dataclass(frozen=True)
class _WrittenRows:
    """The rows of one file of a folder."""

    folder: Path
    name: str

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Row]:
        return read(self.folder, self.name)


def read(folder: Path, file: str) -> Iterator[Row]:
    """Yield the rows of one file; nothing when the dataset has no such file."""
    path = folder / f"{file}.jsonl"
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines)


def _canonical(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _write_lines(path: Path, rows: Iterable[Row]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())
