"""Carry out one attempt on a node of a cluster: `python -m training.runs.launchers.on_node RUN_DIR ATTEMPT`, where the
node and the worker share that directory, else `… on_node --storage ADDRESS --box nodes/000012-1a2b ATTEMPT`.

Starts the recipe as the launcher `local` does, and ends it by itself when no worker looks after this attempt any more,
or when another attempt has begun: whatever dies, the recipe does not outlive its heartbeat. When this process dies, the
recipe ends by its parent watchdog. Knows neither Django nor the cluster's engine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from common.artefacts.storage_problems import StorageProblem
from training.core.parent_watchdog import GRACE_SECONDS
from training.core.run_directory import RecipeFailure, RunDirectory
from training.runs.launchers import (
    Busy,
    Usage,
    host_memory,
    multi_process,
    recipe_bounds,
    recipe_process,
    sealed_secrets,
)
from training.runs.launchers.heartbeat_watch import HeartbeatWatch, Verdict
from training.runs.launchers.node_files import RUNNING, STORING, WAITING, End, NodeFiles, Order, Report
from training.runs.launchers.node_transport import NodeTransport, SharedFolder
from training.runs.launchers.recipe_process import NO_SECRETS, Recipe, Secrets
from training.runs.launchers.storage_relay.node_relay import NodeRelay

Relay = TypeVar("Relay", bound=NodeRelay)
# Exit statuses, as sysexits.h has them: no input; a service does not answer; try again.
NO_DIRECTORY, NO_STORAGE, NOT_WANTED = 66, 69, 75
_ORDER_SECONDS = 60.0  # to read the order from a storage
_TICK = 0.1
_WORDS_SECONDS = 10.0  # to write how it ended, where the file system hangs


class Ended(Exception):
    """Raised when the recipe is to end before it has begun."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    reason: str = ""
    starved_bytes: int = 0
    model_hash: str = ""


class NodeAttempt:
    """One attempt, as this node carries it out."""

    def __init__(self, directory: Path, order: Order, transport: NodeTransport | None = None) -> None:
        self.directory = self.run_directory = directory
        self.order = order
        self.transport = transport or SharedFolder()
        self.files = NodeFiles(directory, order.attempt)
        self.watch = HeartbeatWatch(order.attempt, order.patience_seconds, order.orphan_grace_seconds)
        self.recipe: Recipe | None = None
        self.host, self.log_folder = os.uname().nodename, directory
        self.state, self._public_key, self._reports = WAITING, "", 0
        self._resumed_step: int | None = None
        self._rhythm = min(1.0, order.patience_seconds / 20)

    def carry_out(self) -> int:
        """Run the recipe to its end, whichever that is, and return its exit status."""
        signal.signal(signal.SIGTERM, self._on_signal)
        self.transport.start(self._rhythm)
        self.note_heartbeats()
        for body in (self._read_heartbeats, self._write_reports):
            threading.Thread(target=body, name=body.__name__, daemon=True).start()
        with contextlib.ExitStack() as held:
            try:
                self.wait_for(lambda: self.watch.is_seen)
                lock = held.enter_context(self.wait_for(self._lock))
                outcome = self._with_files(lambda: self.run(lock))
            except Ended as ended:
                outcome = Outcome(-signal.SIGTERM, ended.verdict.reason)
            print(f"It ended with {outcome.exit_code}{outcome.reason and f': {outcome.reason}'}.", flush=True)
            self._write_end(outcome)
        return outcome.exit_code

    def _with_files(self, run: Callable[[], Outcome]) -> Outcome:
        """Bring what the recipe reads, run it, and keep what it leaves."""
        try:
            recipe_process.end_leftovers(self.directory)
            self.transport.bring(self.watch)
            self._resumed_step = self.transport.resumed_step()
            outcome = run()
            self.state = STORING
            is_needed = outcome.exit_code == 0
            return replace(outcome, model_hash=self.transport.keep(self.watch, is_needed=is_needed))
        except RecipeFailure as failure:
            RunDirectory(self.run_directory).fail(failure)
            return Outcome(1, failure.message)

    def run(self, lock: IO[str]) -> Outcome:
        secrets = self._secrets()
        memory = host_memory.Watch.begin()
        with recipe_process.open_log(self.log_folder, self.order.module) as log:
            recipe = self.recipe = recipe_process.start(
                self.directory,
                self.command(),
                self.environment(),
                folder=Path.cwd(),
                lock=lock,
                log=log,
                limits=self._limits(),
                secrets=secrets,
                processes=self.order.processes + multi_process.actors_of(self.directory),
            )
        self.state = RUNNING
        print(f"{self.order.module} works as process {recipe.process.pid}.", flush=True)
        while (code := recipe_process.poll(recipe)) is None:
            if verdict := self.watch.verdict():
                recipe_process.stop(recipe, verdict.grace_seconds)
                return Outcome(recipe.process.returncode, verdict.reason)
            time.sleep(_TICK)
        is_killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        is_starved = is_killed and memory.was_for_want_of_memory(recipe.usage.memory_bytes)
        return Outcome(code, starved_bytes=memory.limit if is_starved else 0)

    def command(self) -> list[str]:
        return multi_process.command(self.directory, self.order.module, self.order.processes)

    def usage(self) -> Usage:
        return self.recipe.usage if self.recipe else recipe_process.NO_USAGE

    def note_heartbeats(self) -> None:
        self.watch.note(self.files.heartbeat())

    def _limits(self) -> dict[str, int]:
        order = self.order
        return recipe_bounds.limits_of(
            memory_bytes=order.memory_bytes,
            file_gb=order.file_gb,
            processes=order.most_processes,
            threads=recipe_bounds.threads_of(os.getuid()) if order.most_processes else 0,
        )

    def environment(self) -> dict[str, str]:
        order = self.order
        return recipe_process.full_environment(
            recipe_bounds.variables_of(os.environ, order.variables) | {"OMP_NUM_THREADS": str(order.threads)},
            self.directory,
            processes=order.processes,
            threads=order.threads,
        )

    def _secrets(self) -> Secrets:
        """Ask the worker for the keys of endpoints, sealed for this process."""
        if not self.order.needs_secrets:
            return NO_SECRETS
        key = X25519PrivateKey.generate()
        self._public_key = sealed_secrets.public_text(key)
        sealed = self.wait_for(self.files.sealed)
        self._public_key = ""
        self.files.drop_sealed()
        return sealed_secrets.unseal(sealed, key, purpose(self.directory, self.order.attempt))

    def _lock(self) -> IO[str] | None:
        with contextlib.suppress(Busy, OSError):
            return recipe_process.lock(self.directory)
        return None

    def wait_for(self, find: Callable[[], Any]) -> Any:
        """Return the first true value of `find`. Raises Ended when the recipe is not to begin any more."""
        while True:
            if verdict := self.watch.verdict():
                raise Ended(verdict)
            if found := find():
                return found
            time.sleep(_TICK)

    def _read_heartbeats(self) -> None:
        while True:
            time.sleep(self._rhythm)
            self.note_heartbeats()

    def _write_reports(self) -> None:
        while True:
            self._reports += 1
            usage = self.usage()
            with contextlib.suppress(OSError):
                self.files.write_report(
                    Report(
                        self.order.attempt,
                        self._reports,
                        self.state,
                        self.host,
                        self._public_key,
                        usage.cpu_seconds,
                        usage.memory_bytes,
                        self._resumed_step,
                    )
                )
            time.sleep(self._rhythm)

    def _write_end(self, outcome: Outcome) -> None:
        """Write how it ended. Not for ever: the file system may be what is gone."""
        usage = self.usage()
        end = End(
            self.order.attempt, outcome.exit_code, outcome.reason, usage.cpu_seconds, usage.memory_bytes,
            outcome.starved_bytes, outcome.model_hash,
        )  # fmt: skip
        thread = threading.Thread(target=self._try_to_write, args=(end,), daemon=True)
        thread.start()
        thread.join(_WORDS_SECONDS)
        self.transport.close(end)

    def _try_to_write(self, end: End) -> None:
        with contextlib.suppress(OSError):
            self.files.write_end(end)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.watch.end("the cluster ended it", GRACE_SECONDS)


def purpose(directory: Path, attempt: int) -> str:
    """Return what secrets of that attempt are sealed for."""
    return f"{directory.name.partition('-')[0]} {attempt}"


def main(arguments: list[str]) -> int:
    """Return the exit status of the recipe."""
    return _by_storage(arguments) if arguments[0] == "--storage" else _by_shared_folder(arguments)


def _by_shared_folder(arguments: list[str]) -> int:
    return carry_out_in(Path(arguments[0]), int(arguments[1]), NodeAttempt)


def carry_out_in(directory: Path, attempt: int, attempt_of: Callable[[Path, Order], NodeAttempt]) -> int:
    """Carry out an attempt in a directory that the worker shares, as `attempt_of` makes it of its order."""
    if not directory.is_dir():
        print(f"There is no {directory} on {os.uname().nodename}. Do this node and the worker share that folder?")
        return NO_DIRECTORY
    files = NodeFiles(directory, attempt)
    order, current = files.order(), files.heartbeat()
    if order is None or (current is not None and current.attempt > attempt):
        print(f"Attempt {attempt} of {directory} is not wanted any more.")
        return NOT_WANTED
    return attempt_of(directory, order).carry_out()


def _by_storage(arguments: list[str]) -> int:
    _, address, _, box, number = arguments
    return carry_out_by_storage(lambda root: NodeRelay(address, box, root, int(number)), NodeAttempt)


def carry_out_by_storage(
    relay_in: Callable[[Path], Relay], attempt_of: Callable[[Path, Order, Relay], NodeAttempt]
) -> int:
    """Carry out an attempt in a directory of this node's own, below its ASSAY_DATA: never in that of a worker that may
    be on the same machine."""
    root = Path(os.environ.get("ASSAY_DATA") or "data").resolve() / "node"
    try:
        relay = relay_in(root)
        order = relay.order(_ORDER_SECONDS)
    except StorageProblem as problem:
        print(f"{os.uname().nodename} does not reach the storage. {problem}")
        return NO_STORAGE
    if order is None:
        print(f"Attempt {relay.attempt} of {relay.directory} is not wanted any more.")
        return NOT_WANTED
    return attempt_of(relay.directory, order, relay).carry_out()


def leave(code: int) -> NoReturn:
    """End this process at once, since a thread may hang in the file system, with a status as a shell has it."""
    sys.stdout.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
