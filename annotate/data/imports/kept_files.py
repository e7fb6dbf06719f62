"""Keep an import's file until it is read: below ASSAY_DATA/imports, under the hash of its bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from django.conf import settings
from django.utils import timezone

from annotate.core.artefacts import local_copies
from annotate.core.artefacts.local_copies import OWN
from annotate.core.errors import Refused
from annotate.core.large_uploads import LARGEST_UPLOAD
from annotate.data.rows.row_source import printable
from annotate.models import Import
from common.file_lock import wait_for_lock

KEPT_DAYS = 7  # after its import has ended, for a look at what was wrong
_BLOCK = 1 << 20


@dataclass(frozen=True)
class KeptFile:
    """Name a file that is kept. `is_new` is False where it was kept before, for whatever still needs it; `mark` tells
    it from an identical one that was kept later."""

    name: str
    hash: str
    bytes: int
    is_new: bool = False
    mark: tuple[int, int] = (0, 0)


def folder() -> Path:
    path = settings.DATA_DIR / "imports"
    path.mkdir(parents=True, exist_ok=True)
    return path


def path_of(hash: str) -> Path:
    """Return where a kept file is, brought from the storage where another host received it. Raises StorageProblem."""
    path = folder() / hash
    local_copies.bring(path)
    return path


def delete(kept_file: KeptFile) -> None:
    """Delete a kept file, here and in the storage; not where somebody has kept the same since."""
    path = folder() / kept_file.hash
    with _alone():
        if path.exists() and _mark_of(path) == kept_file.mark:
            path.unlink()
            local_copies.forget(path)


@contextmanager
def _alone() -> Iterator[None]:
    """Let files take their names, and go, one at a time."""
    with (settings.DATA_DIR / ".imports.lock").open("w") as lock:
        wait_for_lock(lock)
        yield


def _mark_of(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns


def keep(file: BinaryIO, name: str) -> KeptFile:
    """Copy the file in a stream, unless it stands under its hash already. Refused when it is empty or too large."""
    digest, size = hashlib.sha256(), 0
    handle, temporary = tempfile.mkstemp(dir=folder(), prefix="coming-")
    try:
        with os.fdopen(handle, "wb") as copy:
            for block in _blocks(file):
                size += len(block)
                if size > LARGEST_UPLOAD:
                    raise Refused(413, file=f"The file is larger than {LARGEST_UPLOAD:,} bytes; split it.")
                digest.update(block)
                copy.write(block)
            copy.flush()
            os.fsync(copy.fileno())
        if not size:
            raise Refused(400, file="The file is empty.")
        path = folder() / digest.hexdigest()
        with _alone():
            is_new = not path.exists()
            Path(temporary).replace(path)
            mark = _mark_of(path)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise Refused(507, file="The server's disk is full, so the file was not stored; tell the operator.") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    local_copies.keep(path, OWN)
    return KeptFile(printable(name, 200) or "upload", digest.hexdigest(), size, is_new, mark)


def sweep() -> int:
    """Delete files that no import needs any more, and broken copies; return how many."""
    since = timezone.now() - timedelta(days=KEPT_DAYS)
    end_states = (Import.State.DONE, Import.State.FAILED, Import.State.CANCELLED, Import.State.CHECKED)
    needed_hashes = set(
        Import.objects.exclude(state__in=end_states, finished_at__lt=since).values_list("file_hash", flat=True)
    )
    oldest = since.timestamp()
    candidates = [path for path in folder().iterdir() if path.name not in needed_hashes]
    obsolete = [path for path in candidates if _let_go_of_old(path, oldest)]
    stored = [path for path in local_copies.older_below(folder(), since) if path.name not in needed_hashes]
    for path in stored:
        local_copies.forget(path)
    return len({*obsolete, *stored})


def _let_go_of_old(path: Path, oldest: float) -> bool:
    """Delete a file that has lain there since before `oldest`; return whether it did."""
    with _alone(), suppress(FileNotFoundError):
        if path.stat().st_mtime < oldest:
            path.unlink()
            return True
    return False


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
