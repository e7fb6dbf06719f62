"""Ask a fork server for a process, and follow it as `subprocess.Popen` follows one of its own."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from training.core import parent_watchdog
from training.runs.launchers import Busy

SERVER = "training.runs.launchers.fork_server"
MOST_BYTES = 1 << 20  # of a message
_ANSWER_SECONDS = 60.0
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Request:
    """What a child becomes: `python -m MODULE ARGUMENTS` with that environment, in that folder, with those limits.
    `numbers` are those that the descriptors sent with it have in the child."""

    module_and_arguments: list[str]
    environment: dict[str, str]
    folder: str
    umask: int
    limits: dict[str, int]
    numbers: list[int]


@dataclass(frozen=True)
class StartedServer:
    """A fork server of this process. Nobody listens at its address until it has loaded."""

    address: Path
    process: subprocess.Popen[bytes]
    pipe_end: int


class ForkedProcess:
    """A process that a fork server started. `pid`, `returncode`, `poll` and `wait` are what they are in Popen."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid, self._connection = pid, connection
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
            self._process = psutil.Process(pid)
        self.returncode: Any = None  # as in Popen, an int once it has ended

    def poll(self) -> int | None:
        """Return the exit status, None while it works."""
        return self._look(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status. Raises subprocess.TimeoutExpired when it still works after `timeout` seconds."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._look(_LOOK_SECONDS if end is None else max(end - time.monotonic(), 0.0))) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
        return code

    def _look(self, seconds: float) -> int | None:
        if self.returncode is None and select.select([self._connection], [], [], seconds)[0]:
            self.returncode = self._status()
            if self.returncode is not None:
                self._connection.close()
        code: int | None = self.returncode
        return code

    def _status(self) -> int | None:
        """Return how it ended. Where the server is gone, nobody knows: as if killed, once it is over."""
        with contextlib.suppress(ConnectionError):
            if message := self._connection.recv(MOST_BYTES):
                return int(json.loads(message)["status"])
        if self._is_there():
            time.sleep(_LOOK_SECONDS)
            return None
        return -signal.SIGKILL

    def _is_there(self) -> bool:
        """Return whether it still works: a number that nobody waits for may stay, or be another process's by now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(self._process and self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE)
        return False


def fork(address: Path, request: Request, descriptors: Sequence[int]) -> ForkedProcess | None:
    """Return the process that the server at `address` forked; None where none answers there, or it refuses.

    Raises Busy when the server did not say whether it did: what it may have started ends by its pipe.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as undo:
        undo.callback(connection.close)
        connection.settimeout(_ANSWER_SECONDS)
        try:
            connection.connect(str(address))
        except OSError:
            return None  # it still loads, or has ended
        if _owner(connection) != os.geteuid():
            return None
        try:
            socket.send_fds(connection, [json.dumps(asdict(request)).encode()], list(descriptors))
            answer = json.loads(connection.recv(MOST_BYTES) or b"{}")
        except OSError as error:
            raise Busy(f"the fork server did not answer ({error})") from error
        if "refused" in answer:
            return None
        if "pid" not in answer:
            raise Busy("the fork server ended")
        undo.pop_all()
        return ForkedProcess(answer["pid"], connection)


def is_possible() -> bool:
    """Return whether this system has what a fork server needs."""
    return sys.platform == "linux"


def start_server(environment: Mapping[str, str], module: str = SERVER) -> StartedServer:
    """Start a fork server whose libraries load in that environment. It ends with this process, by whatever end, or when
    its `pipe_end` is closed."""
    folder = Path(tempfile.mkdtemp(prefix="assay-fork-"))  # nobody else's, and short enough for a socket's name
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = folder / "socket"
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(address)],
            env={**environment, parent_watchdog.ENVIRONMENT_NAME: str(read_end)},
            stdin=subprocess.DEVNULL,
            pass_fds=[read_end],
            start_new_session=True,
        )
    finally:
        os.close(read_end)
    return StartedServer(address, process, write_end)


def let_go(server: StartedServer) -> None:
    """Remove what a fork server that has ended leaves."""
    os.close(server.pipe_end)
    shutil.rmtree(server.address.parent, ignore_errors=True)


def _owner(connection: socket.socket) -> int:
    """Return the user at the other end, as the kernel knows it."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", credentials)[1])
