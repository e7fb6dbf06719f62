"""Find the log of a run for a page: on this host, else as the node that carries it out has sent it so far, else as it
was last stored."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from django.conf import settings

from annotate.core.artefacts import local_copies
from common import atomic_files
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import StorageProblem
from training.models import Run
from training.runs.launchers.storage_relay.file_streams import end_of_file
from training.runs.launchers.storage_relay.message_box import MessageBox
from training.runs.launchers.storage_relay.node_inputs import box_name
from training.storage import stored_runs

_PATIENCE = 1.0  # of a page that looks at a log, with a storage that does not answer
_NAME = "log.txt"
log = logging.getLogger("assay.storage")


def end_of_log(run: Run, most_bytes: int) -> tuple[Path, int]:
    """Return where the log is, of a log elsewhere its end, and the bytes of the whole. A storage that fails is as no
    log."""
    path = run.path / _NAME
    try:
        if sent := _sent(run, most_bytes):
            return sent
        path = local_copies.bring_file(path)
    except StorageProblem as problem:
        log.warning("%s", problem)
    return path, path.stat().st_size if path.exists() else 0


def whole_log(run: Run) -> Path:
    """Return where the whole log is. Raises StorageProblem."""
    sent = _sent(run, None)
    return sent[0] if sent else local_copies.bring_file(run.path / _NAME)


def _sent(run: Run, most_bytes: int | None) -> tuple[Path, int] | None:
    """Return a copy of what the node of a run under way has sent, and the bytes of the whole; None where there is
    none, or the log is here."""
    if not local_copies.is_on() or run.state != Run.State.RUNNING or (run.path / _NAME).exists():
        return None
    attempt = run.attempts.order_by("-number").values_list("number", flat=True).first()
    box = MessageBox(FileSystem(settings.STORAGE, patience=_PATIENCE), box_name(run.path, stored_runs.identity_of(run)))
    sent = end_of_file(box, attempt, _NAME, most_bytes) if attempt else None
    if sent is None:
        return None
    data, size = sent
    copy = settings.DATA_DIR / local_copies.GLIMPSES / box.name / f"{'end-of-' if most_bytes else ''}{_NAME}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    with atomic_files.replacing(copy, writer=str(os.getpid()), is_synced=False) as partial:
        partial.write_bytes(data)
    return copy, size
