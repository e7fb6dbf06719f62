"""The files by which a worker and our process on a cluster's node hear of each other: all that passes between them but
what the recipe itself reads and writes. They lie in `RUN_DIR/node/`, on a file system that both reach; where there is
none, `storage_relay` copies them between the two.

    heartbeat.json   worker -> node   that the run is looked after: the attempt's number, a counter that grows
    order-3.json     worker -> node   how attempt 3 is to be carried out
    secrets-3.json   worker -> node   keys of endpoints, sealed for this process (`sealed_secrets`)
    report-3.json    node -> worker   where it is, what it does and what it costs, with a counter that grows
    end-3.json       node -> worker   the exit status; written when nothing of the recipe is left

Each is replaced as a whole. A file that cannot be read is as if it were not there. Pure: no Django.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from common import atomic_files

FOLDER = "node"
# Of a report: for room on several nodes; for an earlier attempt, inputs or keys; the recipe works; it has ended, and
# its files are being stored.
PLACING, WAITING, RUNNING, STORING = "placing", "waiting", "running", "storing"


@dataclass(frozen=True)
class Heartbeat:
    """The worker's sign of life. With `grace_seconds` the recipe is to end, within so many."""

    attempt: int
    counter: int
    grace_seconds: float | None = None


@dataclass(frozen=True)
class Order:
    """How an attempt is to be carried out: what its worker knows and the run directory does not say."""

    attempt: int
    module: str
    patience_seconds: float  # without a heartbeat, until the recipe is ended
    orphan_grace_seconds: float
    processes: int = 1
    threads: int = 1  # of each process
    needs_secrets: bool = False
    variables: list[str] = field(default_factory=list)  # of the node's, beside those that hold no secret
    memory_bytes: int = 0  # limits, as `recipe_bounds` has them; 0 is none
    file_gb: float = 0
    most_processes: int = 0


@dataclass(frozen=True)
class Report:
    """What our process on the node says of itself."""

    attempt: int
    counter: int
    state: str = WAITING
    host: str = ""
    public_key: str = ""  # asks for secrets, sealed for this key
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    resumed_step: int | None = None  # of the checkpoint that it goes on from, where the worker cannot see that


@dataclass(frozen=True)
class End:
    """How the attempt ended on its node. `starved_bytes`: the memory of that machine, where the system killed the
    recipe for want of it. `model_hash`: of the model that the node has stored, where the directory is not shared."""

    attempt: int
    exit_code: int
    reason: str = ""
    cpu_seconds: float = 0.0
    memory_bytes: int = 0
    starved_bytes: int = 0
    model_hash: str = ""


_Message = TypeVar("_Message", Heartbeat, Order, Report, End)


class NodeFiles:
    """The files of one attempt."""

    def __init__(self, directory: Path, attempt: int) -> None:
        self.folder, self.attempt = directory / FOLDER, attempt

    def heartbeat(self) -> Heartbeat | None:
        return _read(self.folder / "heartbeat.json", Heartbeat)

    def order(self) -> Order | None:
        return _read(self.folder / f"order-{self.attempt}.json", Order)

    def report(self) -> Report | None:
        return _read(self.folder / f"report-{self.attempt}.json", Report)

    def end(self) -> End | None:
        return _read(self.folder / f"end-{self.attempt}.json", End)

    def sealed(self) -> str:
        row = _read_row(self.folder / f"secrets-{self.attempt}.json")
        return str(row.get("sealed", "")) if row else ""

    def write_order(self, order: Order) -> None:
        self.folder.mkdir(exist_ok=True)
        self._write(f"order-{self.attempt}.json", asdict(order))

    def write_report(self, report: Report) -> None:
        self._write(f"report-{self.attempt}.json", asdict(report))

    def write_end(self, end: End) -> None:
        self._write(f"end-{self.attempt}.json", asdict(end))

    def write_sealed(self, sealed: str) -> None:
        self._write(f"secrets-{self.attempt}.json", {"sealed": sealed})

    def drop_sealed(self) -> None:
        (self.folder / f"secrets-{self.attempt}.json").unlink(missing_ok=True)

    def beat(self, counter: int, grace_seconds: float | None = None) -> bool:
        """Write a heartbeat; return False, and write nothing, where a later attempt has begun."""
        current = self.heartbeat()
        if current is not None and current.attempt > self.attempt:
            return False
        self.folder.mkdir(exist_ok=True)
        self._write("heartbeat.json", asdict(Heartbeat(self.attempt, counter, grace_seconds)))
        return True

    def note(self, heartbeat: Heartbeat) -> None:
        """Write a heartbeat that came from elsewhere, unless a later attempt has begun."""
        current = self.heartbeat()
        if current != heartbeat and (current is None or current.attempt <= heartbeat.attempt):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write("heartbeat.json", asdict(heartbeat))

    def _write(self, name: str, row: dict[str, Any]) -> None:
        writer = f"{os.uname().nodename}-{os.getpid()}"  # several may write a heartbeat
        atomic_files.write_text(self.folder / name, json.dumps(row), writer=writer, is_synced=False)


def begin(directory: Path, attempt: int) -> bool:
    """Let an earlier attempt on a cluster know that another begins; its recipe ends at once. Return whether one had
    gone to a cluster."""
    if not (directory / FOLDER).is_dir():
        return False
    NodeFiles(directory, attempt).beat(0)
    return True


def attempts_sent(directory: Path) -> list[int]:
    """Return the numbers of the attempts that were sent to a cluster."""
    names = (path.stem.rpartition("-")[2] for path in (directory / FOLDER).glob("order-*.json"))
    return sorted(int(name) for name in names if name.isdecimal())


def _read(path: Path, kind: type[_Message]) -> _Message | None:
    return parse(kind, _read_row(path))


def parse(kind: type[_Message], row: dict[str, Any] | None) -> _Message | None:
    """Return the message that a row holds; None where it holds none."""
    names = {one.name for one in fields(kind)}
    try:
        return kind(**{name: value for name, value in (row or {}).items() if name in names}) if row else None
    except TypeError:
        return None


def _read_row(path: Path) -> dict[str, Any] | None:
    """Return the file's object, None where it is not there, not whole, or not to be reached."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return row if isinstance(row, dict) else None
