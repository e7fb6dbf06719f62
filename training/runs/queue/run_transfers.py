"""What a run's files wait for: inputs that are brought before it begins, outputs that are stored before it has ended.

Each in a thread of its own, so that the worker follows its other runs meanwhile. Without ASSAY_STORAGE nothing is
waited for.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.db import connections

from annotate.core.artefacts import local_copies
from common.artefacts.storage_problems import NotStored, StorageProblem, Unreachable, Unstable
from training.core import adapter_base, kept_steps
from training.core.endings import SUCCEEDED, Ending
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure, RunDirectory
from training.models import Attempt, Run
from training.runs.launchers.storage_relay import node_inputs
from training.runs.queue import preparation, supervision
from training.runs.queue.outputs import Outputs
from training.storage import stored_runs

log = logging.getLogger("assay.worker")
_PAUSE_SECONDS = 5.0  # between two tries at a storage that does not answer
_INPUTS, _CHECKPOINT, _OUTPUTS = "inputs", "checkpoint", "outputs"


@dataclass
class Transfer:
    """An action in a thread, and the error that it ended with."""

    purpose: str
    action: Callable[[], None]
    error: BaseException | None = None
    thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._act, name=f"storage-{self.purpose}", daemon=True)
        self.thread.start()

    @property
    def is_over(self) -> bool:
        return not self.thread.is_alive()

    def _act(self) -> None:
        try:
            self.action()
        except BaseException as error:  # told to whoever asks
            self.error = error
        finally:
            connections.close_all()  # this thread's own


class RunTransfers:
    """The transfers of one attempt, one at a time. `words` is what the run waits for, for its page."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._transfer: Transfer | None = None
        self._are_inputs_here, self._are_outputs_stored = False, False
        self._stored_step, self._again_at = -1, 0.0
        self.words = ""

    def are_inputs_here(self, *, is_remote: bool) -> bool:
        """Bring what the run needs, or store it for a node that brings it; return whether all of it is there. Raises
        RecipeFailure for what is damaged."""
        if not local_copies.is_on() or self._are_inputs_here:
            return True
        move = _store_inputs if is_remote else _bring_inputs
        self._are_inputs_here = self._is_done(_INPUTS, lambda: move(self._attempt))
        return self._are_inputs_here

    def note_checkpoint(self, directory: RunDirectory, *, is_remote: bool) -> None:
        """Store the directory when there is a new checkpoint, so that any host can go on from it. A node does so
        itself."""
        if not local_copies.is_on() or is_remote:
            return
        if self._transfer is not None:
            self._end_checkpoint()
            return
        step = directory.latest_step()
        if step != self._stored_step and time.monotonic() >= self._again_at:
            self._stored_step = step
            self._transfer = Transfer(_CHECKPOINT, self._keep_run)

    def are_outputs_stored(self, ending: Ending, outputs: Outputs | None, *, is_remote: bool) -> bool:
        """Store what the attempt leaves; return whether the run may be called ended. Raises RecipeFailure.

        A run that succeeded waits for a storage that does not answer for as long as that takes. Any other ends after
        one try: its directory is here.
        """
        if not local_copies.is_on() or ending.retry or self._are_outputs_stored:
            return True
        if self._transfer is not None and self._transfer.purpose == _CHECKPOINT and not self._end_checkpoint():
            return False
        is_needed = ending.state == SUCCEEDED
        if is_remote and not is_needed:
            return True
        try:
            self._are_outputs_stored = self._is_done(_OUTPUTS, lambda: self._keep_outputs(outputs, is_remote))
        except RecipeFailure as failure:
            if is_needed:
                raise
            self.words = failure.message
        if self.words and not is_needed:
            log.warning("%s ended without being stored: %s", self._attempt, self.words)
            return True
        return self._are_outputs_stored

    def _is_done(self, purpose: str, action: Callable[[], None]) -> bool:
        """Begin an action or look after it; return whether it has ended well."""
        if self._transfer is None:
            if time.monotonic() >= self._again_at:
                self._transfer = Transfer(purpose, action)
            return False
        if not self._transfer.is_over:
            return False
        error, self._transfer = self._transfer.error, None
        if error is None:
            self.words = ""
            return True
        if isinstance(error, Unreachable | Unstable):
            log.warning("%s waits for the storage: %s", self._attempt, error)
            self.words = "waiting for the storage, which does not answer; trying again"
            self._again_at = time.monotonic() + _PAUSE_SECONDS
            return False
        if isinstance(error, StorageProblem):
            raise RecipeFailure("storage", error.message, error.remedy) from error
        raise error

    def _end_checkpoint(self) -> bool:
        """Look after the storing of a checkpoint; return whether it is over."""
        if self._transfer is None or not self._transfer.is_over:
            return self._transfer is None
        error, self._transfer = self._transfer.error, None
        if error is not None:
            log.warning("A checkpoint of %s was not stored: %s", self._attempt, error)
            self._stored_step, self._again_at = -1, time.monotonic() + _PAUSE_SECONDS
        return True

    def _keep_outputs(self, outputs: Outputs | None, is_remote: bool) -> None:
        if outputs is not None and KINDS[self._attempt.run.kind].makes == "dataset":
            local_copies.keep(settings.DATASETS_DIR / outputs.content_hash)
        if not is_remote:
            self._keep_run()
        elif outputs is not None and KINDS[self._attempt.run.kind].makes_model:
            for folder in (outputs.directory.model, *kept_steps.named(outputs.directory, outputs.result)):
                _require_stored(folder)  # and known to be so: its row is written without asking again

    def _keep_run(self) -> None:
        stored_runs.keep(self._attempt.run, lambda: supervision.require_lease(self._attempt))


def _bring_inputs(attempt: Attempt) -> None:
    """Fetch models, datasets and what earlier attempts left."""
    run = attempt.run
    if attempt.number > 1:
        stored_runs.bring(run)
    for folder in preparation.input_folders(run):
        local_copies.bring(folder)
        preparation.bring_base(folder)


def _store_inputs(attempt: Attempt) -> None:
    """Store the models and datasets that are here alone, and fetch what another worker laid for this run."""
    if attempt.number > 1:
        _bring_laid(attempt.run.path)
    for folder in preparation.input_folders(attempt.run):
        _keep_missing(folder)
        if adapter_base.is_adapter(folder) and (base := adapter_base.find_base(folder)) is not None:
            _keep_missing(Path(os.path.normpath(base)))
    source = str(attempt.run.config.get("source", "")).strip()  # of an import
    if attempt.run.kind == "import" and source.startswith("models/"):
        _keep_missing(settings.DATA_DIR / source)


def _require_stored(path: Path) -> None:
    if not local_copies.is_available(path):
        raise NotStored(local_copies.name_of(path), local_copies.store().address)


def _bring_laid(directory: Path) -> None:
    """Fetch what another worker laid for a node: rows that are drawn from the database must not change between two
    attempts."""
    if (directory / "config.json").exists():
        return
    coming = directory / f".{uuid.uuid4().hex}.coming"
    try:
        local_copies.store().fetch(node_inputs.inputs_name(node_inputs.box_name(directory)), coming)
        before, after = node_inputs.Inputs.read(coming).data_folder, str(settings.DATA_DIR.resolve())
        node_inputs.move_rows(coming / "data", directory / "data", before, after)
        (coming / "config.json").replace(directory / "config.json")
    except NotStored:
        return  # no attempt came as far
    finally:
        shutil.rmtree(coming, ignore_errors=True)


def _keep_missing(path: Path) -> None:
    """Store what is on this host and in no artefact yet."""
    if path.exists() and local_copies.name_of(path) and local_copies.covering(path) is None:
        local_copies.keep(path)


def write_words(run: Run, words: str, before: str) -> str:
    """Show on a run's page what it waits for; return that."""
    if words != before:
        Run.objects.filter(pk=run.pk, state=Run.State.RUNNING).update(phase=words[:80])
    return words
