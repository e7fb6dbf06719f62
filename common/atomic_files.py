"""Write files and folders that are whole whenever they have their name: written beside it, synced and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, writer: str = "", is_synced: bool = True) -> Iterator[Path]:
    """Give a hidden name beside `path` to write a file under; it takes the place of `path` when the block ends.

    After an error, or a crash in the middle, what stood there before stands there still. Of several processes that
    write the same file each passes a `writer` of its own. `is_synced` False leaves the disk to the system: for large
    files, and for those that can be made again.
    """
    partial = path.with_name(f".{path.name}.{writer and f'{writer}.'}partial")
    try:
        yield partial
        if is_synced:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str, *, writer: str = "", is_synced: bool = True) -> None:
    """Write a whole text file in UTF-8, or leave the old one."""
    with replacing(path, writer=writer, is_synced=is_synced) as partial:
        partial.write_text(text, encoding="utf-8")


def begin_folder(final: Path, *, keeps: bool = False) -> Path:
    """Return a hidden folder beside `final` to fill: an empty one, or with `keeps` what an earlier attempt left there.
    `commit_folder` gives it its name."""
    partial = _partial(final)
    if not keeps:
        shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=keeps)
    return partial


def commit_folder(final: Path) -> Path:
    """Bring what was begun and its files to the disk, and give it its name in place of what had it."""
    partial = _partial(final)
    for file in partial.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    sync_folder(final.parent)
    return final


def _partial(final: Path) -> Path:
    return final.with_name(f".{final.name}.partial")


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
