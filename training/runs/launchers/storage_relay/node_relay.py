"""The node's side of one attempt: its messages by a thread, its checkpoints by another, its inputs and outputs before
and after the recipe. The storage's answers decide nothing here: the heartbeat watch does, by this node's clock."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from common import atomic_files
from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import StorageProblem, Unreachable, Unstable
from training.core import run_artefact
from training.core.folder_hash import folder_hash
from training.core.run_directory import RecipeFailure, RunDirectory
from training.runs.launchers import node_files
from training.runs.launchers.heartbeat_watch import HeartbeatWatch
from training.runs.launchers.node_files import End, Heartbeat, NodeFiles, Order
from training.runs.launchers.storage_relay import node_cache
from training.runs.launchers.storage_relay.file_streams import FileSender
from training.runs.launchers.storage_relay.message_box import MessageBox, Row
from training.runs.launchers.storage_relay.node_inputs import NodeFolder

_PATIENCE = 10.0  # with a storage that does not answer, in one try at a file
_MESSAGE_PATIENCE = 3.0
_PAUSE = 2.0  # between two tries at files
_CLOSE_SECONDS = 120.0  # in which the last message is tried


class NotWanted(Exception):
    """Raised in place of writing a run's manifest when another attempt has begun."""


class NodeRelay:
    """What passes between a node and the storage for one attempt. `start` begins it, `close` ends it."""

    def __init__(self, address: str, box_name: str, root: Path, attempt: int, *, place: str = "") -> None:
        """`place` tells apart several parts of a run whose nodes may share a disk."""
        self._store = ArtefactStore(FileSystem(address, patience=_PATIENCE))
        self._box = MessageBox(FileSystem(address, patience=_MESSAGE_PATIENCE), box_name)
        self._folder = NodeFolder(self._store, root, box_name, place)
        self.directory, self.attempt = self._folder.directory, attempt
        self._files = self._words = NodeFiles(self.directory, attempt)
        self._out, self._is_laid = f"out-{attempt}.json", False
        self._sender = FileSender(self._box, self.directory, attempt)
        self._period, self._closes = 1.0, threading.Event()
        self._opinions, self._is_taken, self._stored_step = "", False, -1
        self._putting = threading.Lock()
        self._end: End | None = None
        self._threads: list[threading.Thread] = []
        self._in_use: IO[str] | None = None  # keeps other runs from deleting what this one reads

    def order(self, seconds: float) -> Order | None:
        """Wait for the order of this attempt, which its worker writes before it submits the job; None where another
        attempt has begun. Raises StorageProblem."""
        until = time.monotonic() + seconds
        while True:
            try:
                if self.is_over():
                    return None
                if order := node_files.parse(Order, self._box.read(f"order-{self.attempt}.json")):
                    return order
            except Unreachable:
                if time.monotonic() > until:
                    raise
            if time.monotonic() > until:
                return None
            time.sleep(self._period)

    def is_over(self) -> bool:
        """Return whether another attempt has begun. Raises StorageProblem."""
        return self._box.has(f"over-{self.attempt}.json")

    def start(self, period: float) -> None:
        self._period = period
        node_cache.note_use(self._folder.root, f"runs/{self.directory.name}")
        self._files.folder.mkdir(parents=True, exist_ok=True)
        for body in self._bodies():
            thread = threading.Thread(target=body, name=body.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _bodies(self) -> list[Callable[[], None]]:
        """Return what the threads do."""
        return [self._relay_messages, self._store_checkpoints]

    def bring(self, watch: HeartbeatWatch) -> None:
        """Lay the run directory. Returns early where the recipe is not to begin any more; raises RecipeFailure for what
        cannot be brought."""
        while watch.verdict() is None:
            try:
                if self._in_use is None:
                    self._in_use = node_cache.enter(self._folder.root, self.directory, node_cache.limit_bytes())
                self._folder.bring()
                self._is_laid = True
                return
            except Unreachable as problem:
                print(problem, flush=True)
                time.sleep(_PAUSE)
            except StorageProblem as problem:
                raise RecipeFailure("storage", problem.message, problem.remedy) from problem
            except OSError as error:
                remedy = "Have the operator look at the data folder of that node and the room on its disk; then resume."
                raise RecipeFailure(
                    "inputs", f"The run's inputs could not be laid on its node: {error}", remedy
                ) from error

    def resumed_step(self) -> int | None:
        """Return the step of the checkpoint from which the recipe goes on."""
        return RunDirectory(self.directory).kept_step()

    def keep(self, watch: HeartbeatWatch, *, is_needed: bool) -> str:
        """Store the run as it is, and return the hash of its model; empty where there is none, or it is not stored.

        What is needed is tried until it is there or another attempt begins; anything else once.
        """
        while not watch.is_superseded:
            try:
                self._put()
                if RunDirectory(self.directory).result() is not None:  # the model stands; they may weigh gigabytes
                    shutil.rmtree(RunDirectory(self.directory).checkpoints, ignore_errors=True)
                return self._model_hash()
            except NotWanted:
                break
            except (StorageProblem, OSError) as problem:
                print(f"The run is not stored yet: {problem}", flush=True)
                if not is_needed or watch.is_to_stop:
                    break
                if not isinstance(problem, Unreachable | Unstable):
                    raise RecipeFailure("storage", str(problem), "Have the operator look at the storage.") from problem
                time.sleep(_PAUSE)
        return ""

    def close(self, end: End) -> None:
        """Send how it ended, with the last of its files."""
        self._closes.set()
        for thread in self._threads:
            thread.join(_PATIENCE * 3)
        until = time.monotonic() + _CLOSE_SECONDS
        while True:
            try:
                self._send(end)
                return
            except StorageProblem as problem:
                if time.monotonic() > until:
                    print(f"How it ended is not stored: {problem}", flush=True)
                    return
                time.sleep(_PAUSE)

    def _relay_messages(self) -> None:
        while not self._closes.is_set():
            self._quietly(self._receive)
            self._quietly(lambda: self._send(None))
            self._closes.wait(self._period)

    def _store_checkpoints(self) -> None:
        while not self._closes.wait(self._period):
            # What an earlier attempt left here may be older than what another node has stored since.
            if self._is_laid and RunDirectory(self.directory).latest_step() > self._stored_step:
                self._quietly(self._put)

    def _receive(self) -> None:
        if self.is_over():  # first: what was read after it is no news of this attempt
            self._files.note(Heartbeat(self.attempt + 1, 0))
            return
        row = self._box.read(f"in-{self.attempt}.json")
        if row is None:
            return
        if (opinions := str(row.get("opinions") or "")) != self._opinions:
            data = self._box.read_bytes(f"opinions-{self.attempt}.jsonl")
            atomic_files.write_text(self.directory / "opinions.jsonl", data.decode("utf-8"))
            self._opinions = opinions
        if (sealed := str(row.get("sealed") or "")) and not self._is_taken:
            self._is_taken = True
            self._files.write_sealed(sealed)
        if heartbeat := node_files.parse(Heartbeat, row.get("heartbeat")):
            self._files.note(heartbeat)

    def _send(self, end: End | None) -> None:
        files, report = self._sent_files(), self._words.report()
        row: Row = {"report": asdict(report) if report else None, "files": files, "end": asdict(end) if end else None}
        self._box.write(self._out, row)

    def _sent_files(self) -> Row:
        """Send what has grown; return how far each file is sent. Raises StorageProblem."""
        return self._sender.send()

    def _put(self) -> None:
        """Store the run's directory, unless another attempt has begun. Raises NotWanted or StorageProblem."""
        with self._putting:
            with run_artefact.snapshot(self.directory) as folder:
                step = RunDirectory(folder).latest_step()
                self._store.put(self._folder.name, folder, run_artefact.RULES, may_write=self._require_wanted)
            self._stored_step = step

    def _require_wanted(self) -> None:
        if self.is_over():
            raise NotWanted(f"Another attempt of {self._folder.name} has begun.")

    def _model_hash(self) -> str:
        directory = RunDirectory(self.directory)
        return folder_hash(directory.model) if directory.model.is_dir() else ""

    def _quietly(self, action: Callable[[], Any]) -> None:
        """Do it, or let the next turn do it."""
        try:
            action()
        except NotWanted:
            return
        except Exception as problem:  # the thread must outlive whatever the storage or the disk brings
            print(f"{type(problem).__name__}: {problem}", flush=True)
