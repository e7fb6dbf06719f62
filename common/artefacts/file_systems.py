"""Reach a storage by its address, through fsspec: whole objects in, streams out, and patience with what passes.

fsspec is imported when a storage is opened, and not before: a process without one never loads it.
"""

from __future__ import annotations

import errno
import os
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from common.artefacts.storage_problems import StorageProblem, Unreachable

BLOCK = 1 << 22
_RENAMING = {"file", "local", "memory"}  # an object grows under its name there, so it is written beside and renamed
_FOLDERS = {"file", "local"}
_PARTIAL = ".partial"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FINAL = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError, NotImplementedError)
_NETWORK = ("botocore", "aiobotocore", "aiohttp", "urllib3", "asyncio")  # whose errors are not OSErrors
_HOPELESS = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError", "InvalidRegionError")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0

Answer = TypeVar("Answer")


class FileSystem:
    """A storage: objects by names that are relative to its address. Each call is tried again for `patience` seconds."""

    def __init__(
        self, address: str, *, patience: float = 60.0, sleep: Callable[[float], None] = time.sleep, **options: Any
    ) -> None:
        self.address, self.patience, self._sleep = address.rstrip("/"), patience, sleep
        self._fs, self._root = _open(self.address, options)
        protocol = self._fs.protocol
        protocols = {protocol} if isinstance(protocol, str) else set(protocol)
        self._renames, self.is_folder = bool(_RENAMING & protocols), bool(_FOLDERS & protocols)

    def size_of(self, name: str) -> int | None:
        """Return the bytes of an object; None where there is none."""
        try:
            return int(self._patiently(lambda: self._fs.info(self._path(name)))["size"] or 0)
        except FileNotFoundError as error:
            self._check_root(error)
            return None

    def modified(self, name: str) -> datetime:
        """Return when an object was written, with its time zone. Raises FileNotFoundError."""
        moment = self._patiently(lambda: self._fs.modified(self._path(name)))
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def read(self, name: str) -> bytes:
        """Return a small object. Raises FileNotFoundError."""
        try:
            return self._patiently(lambda: self._fs.cat_file(self._path(name)))
        except FileNotFoundError as error:
            self._check_root(error)
            raise

    def write(self, name: str, blocks: Callable[[], Iterator[bytes]]) -> None:
        """Write an object as a whole, or leave what was there. `blocks` begins anew at each try."""
        try:
            self._patiently(lambda: self._write(self._path(name), blocks()))
        except FileNotFoundError as error:
            raise Unreachable(self.address, error) from error

    def copy_out(self, name: str, take: Callable[[Iterator[bytes]], Answer]) -> Answer:
        """Return what `take` makes of an object's blocks; it begins anew at each try. Raises FileNotFoundError."""

        def read() -> Answer:
            with self._fs.open(self._path(name), "rb") as file:
                return take(iter(lambda: file.read(BLOCK), b""))

        return self._patiently(read)

    def names(self, folder: str) -> list[str]:
        """List the objects below a folder, sorted. Raises Unreachable where any part of it cannot be listed."""
        return [name for name in self._all_names(folder) if not name.endswith(_PARTIAL)]

    def versions(self, folder: str) -> dict[str, str]:
        """Return the objects below a folder, each with what changes when it is written anew: its size and its time, and
        the storage's own mark where it has one. Raises Unreachable."""
        root = f"{self._root}/"
        if self.is_folder:
            return dict(self._patiently(lambda: list(_versions_below(self._path(folder), root))))
        found = self._patiently(lambda: self._fs.find(self._path(folder), detail=True))
        marks = ("ETag", "LastModified", "mtime", "created", "size")
        return {path.removeprefix(root): str([info.get(mark) for mark in marks]) for path, info in found.items()}

    def partials(self, folder: str) -> list[str]:
        """List what stands beside objects that are being written, or whose writer was killed. Raises Unreachable."""
        return [name for name in self._all_names(folder) if name.endswith(_PARTIAL)] if self._renames else []

    def _all_names(self, folder: str) -> list[str]:
        root, find = f"{self._root}/", _files_below if self.is_folder else self._fs.find
        try:
            paths = self._patiently(lambda: find(self._path(folder)))
        except FileNotFoundError:
            paths = []
        if not paths:
            self._check_root(FileNotFoundError("the folder is not there"))
        return sorted(path.removeprefix(root) for path in paths)

    def delete(self, name: str) -> None:
        """Delete an object; one that is gone is well gone."""
        with suppress(FileNotFoundError):
            self._patiently(lambda: self._fs.rm_file(self._path(name)))

    def _check_root(self, error: Exception) -> None:
        """Raise Unreachable where the folder itself is not there: a network file system that is not mounted."""
        if self.is_folder and not Path(self._root).is_dir():
            raise Unreachable(self.address, error) from error

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _write(self, path: str, blocks: Iterator[bytes]) -> None:
        if self._renames:
            self._write_beside(path, blocks)
            return
        file = self._fs.open(path, "wb", autocommit=False)
        try:
            for block in blocks:
                file.write(block)
            file.close()
            file.commit()
        except BaseException:
            with suppress(Exception):
                file.discard()
            file.closed = True  # else it would be stored half, or try, when it is collected
            raise

    def _write_beside(self, path: str, blocks: Iterator[bytes]) -> None:
        if self.is_folder and not Path(self._root).is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder is not there", self._root)
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        partial = f"{path}.{uuid.uuid4().hex}{_PARTIAL}"
        try:
            with self._fs.open(partial, "wb") as file:
                for block in blocks:
                    file.write(block)
                if self.is_folder:
                    file.flush()
                    os.fsync(file.f.fileno())
            if self.is_folder:
                Path(partial).replace(path)
            else:
                self._fs.mv(partial, path)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(partial)
            raise

    def _patiently(self, action: Callable[[], Answer]) -> Answer:
        """Return what `action` returns. Errors that may pass are met by trying again; raises Unreachable in the end."""
        until, pause = time.monotonic() + self.patience, _FIRST_PAUSE
        while True:
            try:
                return action()
            except Exception as error:
                if not _may_pass(error):
                    if _is_of_network(error) or isinstance(error, PermissionError):
                        raise Unreachable(self.address, error) from error
                    raise
                if time.monotonic() + pause > until:
                    raise Unreachable(self.address, error) from error
            self._sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, pause * 2)


def _files_below(folder: str) -> list[str]:
    """Return the paths of all files below a folder. Raises OSError for a part that cannot be read: fsspec's `find`
    leaves it out, and the blobs that its manifests name would be swept."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:  # never there, or deleted at this moment
        return []
    return [path for entry in found for path in (_files_below(entry.path) if entry.is_dir() else [entry.path])]


def _versions_below(folder: str, root: str) -> Iterator[tuple[str, str]]:
    for path in _files_below(folder):
        with suppress(FileNotFoundError):  # deleted at this moment
            status = Path(path).stat()
            yield path.removeprefix(root), f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, _FINAL) or type(error).__name__ in _HOPELESS:
        return False
    if isinstance(error, OSError) and error.errno in _FULL:
        return False
    return isinstance(error, OSError | TimeoutError) or _is_of_network(error)


def _is_of_network(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in _NETWORK


def _open(address: str, options: dict[str, Any]) -> tuple[Any, str]:
    """Return fsspec's file system and the path of its root. Raises StorageProblem where a package is missing."""
    try:
        import fsspec

        if address.startswith(("s3://", "s3a://")):
            options = {"use_listings_cache": False, "config_kwargs": _S3, **options}
        file_system, root = fsspec.core.url_to_fs(address, **options)
    except ImportError as error:
        raise StorageProblem(
            f"The storage {address} needs a package that is not installed ({error}).",
            "python -m pip install -r requirements-storage.txt -c requirements.lock",
        ) from error
    except ValueError as error:
        raise StorageProblem(
            f"The storage {address} cannot be opened ({error}).",
            "Name a folder or s3://bucket/prefix.",
        ) from error
    return file_system, root.rstrip("/")


# Short: what does not answer is asked again by us, which says so.
_S3 = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1}}
