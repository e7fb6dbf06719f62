"""A run's directory as an artefact of the storage: which files are part of it, and how far it has come. Pure.

What changes from time to time (logs, figures, checkpoints) lies in a pool of the run's own and goes with its later
version; rows and weights are shared by their content with the datasets and models that they are.
"""

from __future__ import annotations

import hashlib
import re

from common.artefacts.artefact_store import Rules
from common.artefacts.manifests import Manifest
from training.core.run_directory import RunDirectory

OF_ONE_HOST = ("node", "lock")  # between a worker and the processes of its attempt
_SHARED = ("model", "kept", "dataset", "data", "export")
_RESULT = "result.json"  # there once the run has ended well
_CHECKPOINT = re.compile(r"checkpoints/step-(\d+)/")


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
