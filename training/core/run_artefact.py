"""A run's directory as an artefact of the storage: which files are part of it, how far it has come, how it stands.

What changes from time to time (logs, figures, checkpoints) lies in a pool of the run's own and goes with its later
version; rows and weights are shared by their content with the datasets and models that they are.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.artefacts.artefact_store import Rules, files_below
from common.artefacts.manifests import Manifest
from training.core.run_directory import RunDirectory

OF_ONE_HOST = ("node", "lock")  # between a worker and the processes of its attempt
_SHARED = ("model", "kept", "dataset", "data", "export")
_RESULT = "result.json"  # there once the run has ended well
_CHECKPOINT = re.compile(r"checkpoints/step-(\d+)/")
_SNAPSHOT = ".snapshot-"
_TRIES = 5  # at a directory that changes while it is linked


def _top(path: str) -> str:
    return path.partition("/")[0]


RULES = Rules(
    is_part=lambda path: _top(path) not in OF_ONE_HOST,
    is_own=lambda path: _top(path) not in _SHARED,
)


def newest_step(manifest: Manifest) -> int:
    """Return the step of the newest checkpoint of a stored run; 0 where it has none."""
    found = (_CHECKPOINT.match(entry.path) for entry in manifest.entries)
    return max((int(match[1]) for match in found if match), default=0)


def is_behind(directory: RunDirectory, manifest: Manifest) -> bool:
    """Return whether a directory is what a host has left of that run, which went on elsewhere."""
    identity = directory.path / "identity"
    if not identity.exists() or not is_of(manifest, identity.read_text(encoding="utf-8")):
        return False
    is_stored_ended, is_ended = manifest.entry(_RESULT) is not None, (directory.path / _RESULT).exists()
    if is_stored_ended or is_ended:
        return not is_ended
    return directory.latest_step() < newest_step(manifest)


def is_of(manifest: Manifest, identity: str) -> bool:
    """Return whether a stored run is the one of that identity: the run 7 of another database is another run."""
    entry = manifest.entry("identity")
    return entry is not None and entry.sha256 == hashlib.sha256(identity.encode()).hexdigest()


@contextmanager
def snapshot(directory: Path) -> Iterator[Path]:
    """Yield a folder of hard links to the files that are part of a run, of its checkpoints the latest one alone: what
    the recipe deletes or replaces stays in it until the block ends, at the price of that checkpoint's disk. A file that
    grows, grows here, too. Yield the directory itself where the disk knows no hard links."""
    for left in directory.glob(f"{_SNAPSHOT}*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder = directory / f"{_SNAPSHOT}{uuid.uuid4().hex}"
    try:
        yield folder if _is_linked(directory, folder) else directory
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_linked(directory: Path, folder: Path) -> bool:
    for _ in range(_TRIES):
        try:
            _link(directory, folder)
            return True
        except FileNotFoundError:  # it was deleted after it had been listed
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            return False
    return False


def _link(directory: Path, folder: Path) -> None:
    latest = RunDirectory(directory).latest_checkpoint()
    of_latest = f"checkpoints/{latest.name}/" if latest else "checkpoints/"

    def is_part(path: str) -> bool:
        return RULES.is_part(path) and (path.startswith(of_latest) or not path.startswith("checkpoints/"))

    found = files_below(directory, Rules(is_part=is_part))
    if latest and not any(path.startswith(of_latest) for path in found):
        raise FileNotFoundError(str(latest))
    folder.mkdir()
    for path in found:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(directory / path, folder / path)
