"""Real processes for tests: found by their command line, waited for, and ended however the test ends."""

from __future__ import annotations

import functools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
# Of whoever runs the tests: it would lead a site's processes elsewhere, or hide what the event loop forbids them.
FOREIGN = (
    *("DATABASE_URL", "REDIS_URL", "MODEL_SERVER_URL", "MODEL_SERVER_PORT", "HOST", "RUN_LAUNCHER", "RAY_ADDRESS"),
    *("DJANGO_ALLOW_ASYNC_UNSAFE", "ASSAY_STORAGE"),
)


def free_port() -> int:
    return free_ports()[0]


def free_ports() -> tuple[int, int]:
    """Two free ports side by side: PORT, and the model server's by default.

    Below the range from which the kernel takes ports for clients: a client that keeps knocking at a server that is down
    would in the end be given that very port, connect to itself, and keep the server from coming back.
    """
    while True:
        port = random.randrange(15_000, 30_000)
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port, port + 1


def until(condition: Callable[[], object], seconds: float = 20.0, what: str = "", *, every: float = 0.05) -> object:
    """The first true value of `condition`, asked `every` so many seconds; fails when there is none in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every)
    raise AssertionError(f"not within {seconds:g} s: {what or condition}")


@functools.cache
def asking_client() -> httpx.Client:
    """Return a client that keeps no connection. To make one takes 7 ms of a processor, and what starts is asked twenty
    times a second."""
    return httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))


def answers(address: str) -> bool:
    try:
        return asking_client().get(address, timeout=5).status_code < 500
    except httpx.TransportError:
        return False


def alive(pid: int) -> bool:
    """Whether that process is there and not merely waiting to be reaped."""
    try:
        os.kill(pid, 0)
        return "Z" not in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    except ProcessLookupError:
        return False


def kill_hard(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
