"""The list of blobs that are about to be deleted (`blob_sweep`), which whoever stores an artefact reads first."""

from __future__ import annotations

import json
import time

from common.artefacts.file_systems import FileSystem

CONDEMNED = "sweep/condemned.json"
LONGEST_PUT = 24 * 3600.0  # seconds between reading the list and writing a manifest


def clock() -> float:
    """Return seconds that also pass while the machine sleeps, where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def condemned(files: FileSystem) -> dict[str, str]:
    """Return since when each listed blob is on the list. Raises StorageProblem, and ValueError for a broken list."""
    try:
        return {str(blob): str(since) for blob, since in json.loads(files.read(CONDEMNED)).items()}
    except FileNotFoundError:
        return {}
