"""Run a recipe as a subprocess of this worker: a session of its own, a parent watchdog, a log in the run directory.

That no two attempts of a run work at once on a machine is held by the kernel: the recipe inherits a lock on
`RUN_DIR/lock`, which is free again only when the last process that holds it is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import psutil
from django.conf import settings

from common.file_lock import try_lock
from training.core import endings, niceness, parent_watchdog, run_secrets
from training.runs.launchers import Busy, Usage, confinement, gpus, multi_process

RUN_VARIABLE = "ASSAY_RUN_DIRECTORY"  # marks every process of a run, however it was started
GRACE_SECONDS = parent_watchdog.GRACE_SECONDS
_ROUNDS = 3  # of looking for leftovers; the lock keeps out what withstands them all
_NO_USAGE = Usage(0.0, 0)
TAKES_SECRETS = True


@dataclass
class _Child:
    process: subprocess.Popen[bytes]
    pipe_end: int  # the write end: closing it ends the recipe
    directory: Path
    processes: int = 1
    person: confinement.Person | None = None  # whom it runs as, when not as the worker
    usage: Usage = _NO_USAGE
    is_over: bool = False


_children: dict[str, _Child] = {}


def submit(directory: Path, module: str, secrets: Mapping[str, Sequence[str]] = MappingProxyType({})) -> str:
    processes = multi_process.processes_of(directory)
    multi_process.check_gpus(processes, len(gpus.names()))
    person = confinement.person()
    with contextlib.ExitStack() as own_copies:  # our copies of what the recipe inherits
        lock = own_copies.enter_context(_lock(directory))
        leased = own_copies.enter_context(gpus.lease(settings.RUNS_DIR / "gpus", processes))
        log = own_copies.enter_context((directory / "log.txt").open("ab", buffering=0))
        read_end, write_end = os.pipe()
        own_copies.callback(os.close, read_end)
        secrets_pipe = own_copies.enter_context(_pipe_of(secrets))
        log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC: {module}\n".encode())
        try:
            command = confinement.command(multi_process.command(directory, module, processes))
            confinement.hand_over(directory, person)
            process = subprocess.Popen(
                command,
                cwd=settings.BASE_DIR,
                env={**_environment(directory, read_end, leased, processes), **secrets_pipe.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=confinement.UMASK,
                **_as(person),
                pass_fds=[read_end, lock.fileno(), *leased.descriptors, *secrets_pipe.descriptors],
            )
        except BaseException:
            os.close(write_end)
            raise
    niceness.be_nice(process.pid)
    handle = f"{os.uname().nodename}:{process.pid}:{time.time():.0f}"
    _children[handle] = _Child(process, write_end, directory, processes, person)
    return handle


def poll(handle: str) -> int | None:
    """Return the exit status. A recipe that another worker started died with it, by its parent watchdog: as if
    killed."""
    child = _children.get(handle)
    if child is None:
        return -signal.SIGKILL
    _measure(child)
    code = child.process.poll()
    if code is not None:
        _end_members(child)
    return code


def stop(handle: str, grace_seconds: float | None = None) -> None:
    """Send SIGTERM to all that the recipe started, and SIGKILL to what is left after the grace."""
    child = _children.get(handle)
    if child is None or child.is_over:
        return
    _measure(child)
    _signal_group(child.process.pid, signal.SIGTERM)
    try:
        child.process.wait(GRACE_SECONDS if grace_seconds is None else grace_seconds)
    except subprocess.TimeoutExpired:
        _signal_group(child.process.pid, signal.SIGKILL)
        child.process.wait()
    _end_members(child)


def forget(handle: str) -> None:
    """Let go of a recipe that has ended."""
    if child := _children.pop(handle, None):
        os.close(child.pipe_end)


def logs(directory: Path) -> str:
    return endings.log_tail(directory / "log.txt", lines=200)


def usage(handle: str) -> Usage:
    child = _children.get(handle)
    return child.usage if child else _NO_USAGE


def end_leftovers(directory: Path) -> None:
    """Kill whatever still works in this run directory: its worker is gone, and a new attempt is about to begin."""
    for _ in range(_ROUNDS):  # more than one: what forked while the others were listed is not among them
        leftovers = [p for p in psutil.process_iter() if p.pid != os.getpid() and _works_in(p, directory)]
        if not leftovers:
            return
        for process in leftovers:
            with contextlib.suppress(psutil.NoSuchProcess):  # the parent watchdog is ending them at the same time
                process.kill()
        psutil.wait_procs(leftovers, timeout=10)


@dataclass(frozen=True)
class _LaunchInputs:
    environment: dict[str, str]
    descriptors: list[int]


@contextlib.contextmanager
def _pipe_of(secrets: Mapping[str, Sequence[str]]) -> Iterator[_LaunchInputs]:
    """Hold the pipe by which the recipe learns them, until it has inherited its end."""
    if not secrets:
        yield _LaunchInputs({}, [])
        return
    pipe = run_secrets.pipe_with(secrets)
    try:
        yield _LaunchInputs({run_secrets.DESCRIPTOR: str(pipe)}, [pipe])
    finally:
        os.close(pipe)


def _lock(directory: Path) -> IO[str]:
    file = (directory / "lock").open("w")
    if not try_lock(file):
        file.close()
        raise Busy("an earlier attempt is still ending")
    return file


def _environment(directory: Path, read_end: int, leased: gpus.Lease, processes: int) -> dict[str, str]:
    environment = {
        **confinement.environment(directory),
        parent_watchdog.ENVIRONMENT_NAME: str(read_end),
        RUN_VARIABLE: str(directory),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **leased.environment,
    }
    if processes > 1:  # they share the cores, whatever one alone was given
        environment["OMP_NUM_THREADS"] = str(multi_process.threads_each(processes))
    environment.setdefault("OMP_NUM_THREADS", str(multi_process.threads_each(1)))
    # The worker's own one thread is for the small systems of ratings; a recipe's matrices are large.
    environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"]
    return environment


def _as(person: confinement.Person | None) -> dict[str, Any]:
    """Return the user for Popen, without the groups of whoever started the worker."""
    return {} if person is None else {"user": person.uid, "group": person.gid, "extra_groups": []}


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # nothing is left of it


def _end_members(child: _Child) -> None:
    """Kill what the recipe, which has ended, started. Once: later, the group's number may be another's."""
    if not child.is_over:
        child.is_over = True
        _signal_group(child.process.pid, signal.SIGKILL)
        if child.processes > 1:  # each leads a session of its own
            end_leftovers(child.directory)
        confinement.take_back(child.directory, child.person)


def _measure(child: _Child) -> None:
    """Measure CPU time and memory while it lives; the last reading stays when it is gone."""
    try:
        recipe = psutil.Process(child.process.pid)
        members = [recipe, *(recipe.children(recursive=True) if child.processes > 1 else [])]
        times = [member.cpu_times() for member in members]
        seconds = sum(t.user + t.system + t.children_user + t.children_system for t in times)
        memory = sum(member.memory_info().rss for member in members)
    except psutil.Error:
        return
    child.usage = Usage(max(seconds, child.usage.cpu_seconds), max(memory, child.usage.memory_bytes))


def _works_in(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.environ().get(RUN_VARIABLE) == str(directory)
    except (psutil.Error, OSError):
        return False
