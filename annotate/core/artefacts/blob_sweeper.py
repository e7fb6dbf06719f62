"""Sweep the storage of ASSAY_STORAGE once a day: blobs that no manifest names go after some days."""

from __future__ import annotations

import logging
import threading

from annotate.core.artefacts import local_copies
from common.artefacts import blob_sweep
from common.artefacts.storage_problems import StorageProblem

log = logging.getLogger("assay.storage")


class BlobSweeper:
    """Carry out rounds in a thread: one may read thousands of manifests, and other small work must not wait."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None

    def do(self) -> bool:
        """Begin a round where there is a storage and none is under way; it decides whether it is its turn."""
        if local_copies.is_on() and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=sweep_once, name="blob sweep", daemon=True)
            self._thread.start()
        return False


def sweep_once() -> None:
    """Carry out a round, if it is time for one. What goes wrong is logged, and the next round begins anew."""
    try:
        swept = blob_sweep.sweep(local_copies.store())
    except (StorageProblem, blob_sweep.TooSlow, OSError, ValueError) as problem:
        log.warning("Blobs that nobody names stay in the storage until the next round: %s", problem)
        return
    if swept is not None:
        log.info("deleted %s blobs that no manifest names; %s are to follow", swept.deleted, swept.condemned)
