"""The worker's side of one attempt: what its run directory holds for the node goes into the storage, and what the node
wrote comes back, by a thread of its own. Whoever follows the attempt reads and writes `node_files` as ever."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from pathlib import Path

from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.file_systems import FileSystem
from common.artefacts.storage_problems import NotStored, StorageProblem
from training.core import run_artefact
from training.core.run_directory import RunDirectory
from training.runs.launchers import node_files
from training.runs.launchers.node_files import End, NodeFiles, Order, Report
from training.runs.launchers.storage_relay.file_streams import FileReceiver
from training.runs.launchers.storage_relay.message_box import MessageBox, Row
from training.runs.launchers.storage_relay.node_inputs import INPUTS_RULES, inputs_name

log = logging.getLogger("assay.worker")


class WorkerRelay:
    """The relay of one attempt. `begun_at`, of the monotonic clock, is when earlier attempts were told to end."""

    def __init__(
        self, store: ArtefactStore, messages: FileSystem, box_name: str, directory: Path, attempt: int, period: float,
        *, is_adopted: bool = False,
    ) -> None:  # fmt: skip
        self.directory, self.attempt, self.is_away = directory, attempt, False
        self.begun_at: float | None = time.monotonic() if is_adopted else None
        self.are_inputs_there = is_adopted
        self._store, self._period = store, period
        self._box = MessageBox(messages, box_name)
        self._files = NodeFiles(directory, attempt)
        self._receiver = FileReceiver(self._box, directory, attempt)
        self._are_inputs_laid, self._is_ended = is_adopted, False
        self._sent: Row | None = None
        self._received: Row | None = None
        self._wakes, self._closes, self._is_over = threading.Event(), threading.Event(), False
        threading.Thread(target=self._work, name=f"relay-{directory.name}", daemon=True).start()

    def hand_over_inputs(self) -> bool:
        """Have the inputs stored that were laid in the directory, and the order; return whether they are there."""
        if not self.are_inputs_there:
            self._are_inputs_laid = True
            self.wake()
        return self.are_inputs_there

    def wake(self) -> None:
        """Have the next heartbeat go out at once."""
        self._wakes.set()

    def close(self, *, is_over: bool) -> None:
        """End the thread. Where the attempt is over, its parts are deleted first: nobody reads them any more."""
        self._is_over = is_over
        self._closes.set()
        self._wakes.set()

    def _work(self) -> None:
        while not self._closes.is_set():
            try:
                self._turn()
                self.is_away = False
            except StorageProblem as problem:
                if not self.is_away:
                    log.warning("%s, attempt %s: %s", self.directory.name, self.attempt, problem)
                self.is_away = True
            except Exception:  # this thread must outlive whatever a disk or a strange file brings
                log.exception("%s, attempt %s: the relay goes on", self.directory.name, self.attempt)
            self._wakes.wait(self._period)
            self._wakes.clear()
        if self._is_over:
            self._clear()

    def _turn(self) -> None:
        if self.begun_at is None:
            self._begin()
        if not self.are_inputs_there:
            self._read_earlier()
            if self._are_inputs_laid:
                self._send_inputs()
        if self.are_inputs_there and not self._is_ended:
            self._send()
            self._receive()

    def _begin(self) -> None:
        """Tell earlier attempts that this one begins, whoever sent them."""
        for number in self._earlier():
            name = f"order-{number}.json"
            if order := node_files.parse(Order, self._box.read(name)):
                NodeFiles(self.directory, number).write_order(order)
            self._box.write(f"over-{number}.json", {"begun": self.attempt})
        self._read_earlier()
        self.begun_at = time.monotonic()

    def _earlier(self) -> list[int]:
        numbers = (name.removeprefix("order-").removesuffix(".json") for name in self._box.names())
        return sorted(int(number) for number in numbers if number.isdecimal() and int(number) < self.attempt)

    def _read_earlier(self) -> None:
        """Read how earlier attempts ended."""
        for number in node_files.attempts_sent(self.directory):
            files = NodeFiles(self.directory, number)
            if number < self.attempt and files.end() is None and (row := self._box.read(f"out-{number}.json")):
                _write_words(files, row)

    def _send_inputs(self) -> None:
        order = self._files.order()
        if order is None:
            return  # it is about to be written
        self._store.put(inputs_name(self._box.name), self.directory, INPUTS_RULES)
        self._box.write(f"order-{self.attempt}.json", asdict(order))
        self.are_inputs_there = True

    def _send(self) -> None:
        heartbeat = self._files.heartbeat()
        if heartbeat is None or heartbeat.attempt != self.attempt:
            return
        if self._sent is None and not self._files.sealed():
            before = self._box.read(f"in-{self.attempt}.json") or {}
            if sealed := before.get("sealed"):  # by the worker that this one follows
                self._files.write_sealed(str(sealed))
        row = {"heartbeat": asdict(heartbeat), "sealed": self._files.sealed(), "opinions": self._opinions()}
        if row != self._sent:
            if row["opinions"] != (self._sent or {}).get("opinions", ""):
                data = (self.directory / "opinions.jsonl").read_bytes()
                self._box.write_bytes(f"opinions-{self.attempt}.jsonl", data)
            self._box.write(f"in-{self.attempt}.json", row)
            self._sent = row

    def _opinions(self) -> str:
        """Return a text that changes with what people said."""
        path = self.directory / "opinions.jsonl"
        return f"{path.stat().st_size} {path.stat().st_mtime_ns}" if path.exists() else ""

    def _receive(self) -> None:
        row = self._box.read(f"out-{self.attempt}.json")
        if row is None or row == self._received:
            return
        missing = self._receiver.receive(row.get("files") or {})
        if row.get("end"):
            self._receive_rest(missing)
            self._is_ended = True
        elif missing:
            return  # of these, the next message names other parts
        _write_words(self._files, row)
        self._received = row
        if (self._sent or {}).get("sealed") and not (row.get("report") or {}).get("public_key"):
            self._files.drop_sealed()  # its process has taken them

    def _receive_rest(self, missing: list[str]) -> None:
        """Bring from the stored run what parts are gone of, and the rows of a dataset: those are frozen here."""
        name = f"runs/{self.directory.name}"
        try:
            manifest = self._store.manifest(name)
        except NotStored:
            return
        if not run_artefact.is_of(manifest, _text_of(self.directory / "identity")):
            return
        for entry in manifest.entries:
            if entry.path in missing:
                partial = self.directory / f".{entry.path}.partial"
                self._store.fetch_file(name, entry, partial)
                partial.replace(self.directory / entry.path)
        dataset = RunDirectory(self.directory).dataset
        if manifest.below("dataset") and not dataset.exists():
            self._store.fetch(name, dataset, "dataset")

    def _clear(self) -> None:
        try:
            for name in self._box.names(f"part/{self.attempt}"):
                self._box.delete(name)
        except StorageProblem as problem:
            log.warning("%s: parts of files stay in the storage: %s", self.directory.name, problem)


def _write_words(files: NodeFiles, row: Row) -> None:
    """Write down what a node said of an attempt."""
    files.folder.mkdir(parents=True, exist_ok=True)
    if report := node_files.parse(Report, row.get("report")):
        files.write_report(report)
    if end := node_files.parse(End, row.get("end")):
        files.write_end(end)


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
