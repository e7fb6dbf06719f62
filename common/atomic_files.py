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


def rename_folder(temporary: Path, final: Path) -> None:
    """Bring a folder and its files to the disk, and give it its name in place of what had it."""
    for file in temporary.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    shutil.rmtree(final, ignore_errors=True)
    temporary.rename(final)
    sync_folder(final.parent)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
