"""Name a worker in the database, and find out whether one of that name is surely dead.

`demo@host:4026531836:4711:5c1e8a90-81234` names the process by its host, PID namespace, PID and start: enough for a
worker on the same machine to take over at once, instead of waiting for a lease to expire.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import psutil

_LONGEST_NAME, _LONGEST_HOST = 30, 50  # what is longer is cut: a row holds 120 characters


def identity(name: str = "") -> str:
    process = psutil.Process()
    return f"{(name or 'worker')[:_LONGEST_NAME]}@{_place()}:{process.pid}:{_start_of(process)}"


def host_of(worker: str) -> str:
    """Return the host that a worker runs on; "" for a name of another form."""
    return worker.partition("@")[2].rsplit(":", 3)[0]


def forms_of(name: str) -> set[str]:
    """Return the forms that an operator's name for workers, a host or both may have in identities."""
    worker, at, host = name.partition("@")
    if at:
        return {name, f"{worker[:_LONGEST_NAME]}@{host[:_LONGEST_HOST]}"}
    return {name, name[:_LONGEST_NAME], name[:_LONGEST_HOST]}


def is_gone(worker: str) -> bool:
    """Return True only when that process ran here and is dead. Of another machine nothing is known but its lease."""
    try:
        host, pid, started = worker.split("@", 1)[1].rsplit(":", 2)
        if host != _place():
            return False
        process = psutil.Process(int(pid))
        return not _began_at(process, started) or process.status() == psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return True
    except (ValueError, IndexError, OSError, psutil.Error):
        return False


def _start_of(process: psutil.Process) -> str:
    """Return when a process began: which boot, and the ticks since then. By the clock it would be another moment
    whenever that is set."""
    if not _boot():
        return f"{process.create_time():.0f}"
    status = Path(f"/proc/{process.pid}/stat").read_text()
    return f"{_boot()}-{status.rpartition(')')[2].split()[19]}"


def _began_at(process: psutil.Process, started: str) -> bool:
    """Return whether a process began then. Workers of earlier versions name the moment by the clock."""
    if "-" in started:
        return _start_of(process) == started
    return abs(process.create_time() - float(started)) <= 2


@cache
def _boot() -> str:
    """Return what names this boot of the machine; "" for a system that does not say."""
    name = Path("/proc/sys/kernel/random/boot_id")
    return name.read_text()[:8] if name.exists() else ""


def _place() -> str:
    """Return the host and PID namespace: containers of one pod may share a host name, but then not a PID namespace."""
    namespace = Path("/proc/self/ns/pid")
    return f"{os.uname().nodename[:_LONGEST_HOST]}:{namespace.stat().st_ino if namespace.exists() else 0}"
