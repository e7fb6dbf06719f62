"""What passes through the storage where the nodes of one attempt share no folder. Each node's part brings the run's
inputs itself, and the first one's stores and sends what the run leaves. Beside the messages of `storage_relay`:

    member-1-3.json   part -> who placed it   report, files and end of the second part of attempt 3
    stop-3.json       who placed it -> parts  that all are to end, and within how long

Who placed the parts tells the worker the rest: its own report and end, beside the first part's files.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.runs.launchers import node_files
from training.runs.launchers.heartbeat_watch import HeartbeatWatch
from training.runs.launchers.node_files import FOLDER, End, NodeFiles, Report
from training.runs.launchers.storage_relay.message_box import Row
from training.runs.launchers.storage_relay.node_relay import NodeRelay

_FAILURE = "failure.json"


def member_folder(directory: Path, rank: int) -> Path:
    return directory / FOLDER / f"member-{rank}"


class MemberRelay(NodeRelay):
    """The relay of one node's part. That of the first one stores and sends what the run leaves."""

    def __init__(self, address: str, box_name: str, root: Path, attempt: int, rank: int) -> None:
        super().__init__(address, box_name, root, attempt, place=f"-{rank}")
        self._is_first = rank == 0
        self._words = NodeFiles(member_folder(self.directory, rank), attempt)
        self._out = f"member-{rank}-{attempt}.json"

    def keep(self, watch: HeartbeatWatch, *, is_needed: bool) -> str:
        return super().keep(watch, is_needed=is_needed) if self._is_first else ""

    def _bodies(self) -> list[Callable[[], None]]:
        return super()._bodies() if self._is_first else [self._relay_messages]

    def _receive(self) -> None:
        super()._receive()
        if row := self._box.read(f"stop-{self.attempt}.json"):
            self._words.beat(0, float(row["grace_seconds"]))

    def _sent_files(self) -> Row:
        if self._is_first:
            return super()._sent_files()
        failure = self.directory / _FAILURE
        return {_FAILURE: {"text": failure.read_text(encoding="utf-8")}} if failure.exists() else {}


class PlacedRelay(NodeRelay):
    """The relay of who placed the parts: it lays nothing and stores nothing."""

    def __init__(self, address: str, box_name: str, root: Path, attempt: int, members: int) -> None:
        super().__init__(address, box_name, root, attempt, place="-placed")
        self._members = [NodeFiles(member_folder(self.directory, rank), attempt) for rank in range(members)]
        self._rows: list[Row] = [{}] * members
        self._is_stop_told = False

    def bring(self, watch: HeartbeatWatch) -> None:
        for files in self._members:
            files.folder.mkdir(parents=True, exist_ok=True)

    def resumed_step(self) -> int | None:
        return None  # the first part's report says it

    def keep(self, watch: HeartbeatWatch, *, is_needed: bool) -> str:
        end = self._members[0].end()
        return end.model_hash if end else ""

    def _bodies(self) -> list[Callable[[], None]]:
        return [self._relay_messages]

    def _receive(self) -> None:
        super()._receive()
        for rank, files in enumerate(self._members):
            if row := self._box.read(f"member-{rank}-{self.attempt}.json"):
                self._rows[rank] = row
                files.folder.mkdir(parents=True, exist_ok=True)
                if report := node_files.parse(Report, row.get("report")):
                    files.write_report(report)
                if end := node_files.parse(End, row.get("end")):
                    files.write_end(end)
        self._tell_stop()

    def _tell_stop(self) -> None:
        heartbeat = self._members[0].heartbeat()
        if heartbeat is None or heartbeat.attempt != self.attempt:  # an earlier attempt's lies here for ever
            return
        if heartbeat.grace_seconds is not None and not self._is_stop_told:
            self._box.write(f"stop-{self.attempt}.json", {"grace_seconds": heartbeat.grace_seconds})
            self._is_stop_told = True

    def _sent_files(self) -> Row:
        """Return how far the first part has sent its files, and any part's words of a failure."""
        parts = [row.get("files") or {} for row in self._rows]
        failures = [part[_FAILURE] for part in parts if _FAILURE in part]
        return parts[0] | ({_FAILURE: failures[0]} if failures else {})
