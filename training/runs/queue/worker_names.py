"""Name a worker in the database, and find out whether one of that name is surely dead.

`demo@host:4026531836:4711:1700000000` names the process by its host, PID namespace, PID and start: enough for a
worker on the same machine to take over at once, instead of waiting for a lease to expire.
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def identity(name: str = "") -> str:
    process = psutil.Process()
    return f"{(name or 'worker')[:30]}@{_place()}:{process.pid}:{process.create_time():.0f}"


def host_of(worker: str) -> str:
    """Return the host that a worker runs on; "" for a name of another form."""
    return worker.partition("@")[2].rsplit(":", 3)[0]


def is_gone(worker: str) -> bool:
    """Return True only when that process ran here and is dead. Of another machine nothing is known but its lease."""
    try:
        host, pid, started = worker.split("@", 1)[1].rsplit(":", 2)
        if host != _place():
            return False
        process = psutil.Process(int(pid))
        return abs(process.create_time() - float(started)) > 2 or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, IndexError, psutil.Error):
        return False


def _place() -> str:
    """Return the host and PID namespace: containers of one pod may share a host name, but then not a PID namespace."""
    namespace = Path("/proc/self/ns/pid")
    return f"{os.uname().nodename[:50]}:{namespace.stat().st_ino if namespace.exists() else 0}"
