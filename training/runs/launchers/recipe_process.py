"""Start a recipe as a process, follow it, and end it with all that it started: a session of its own, a parent watchdog,
a log in the run directory. Pure: the launcher `local` uses it, and so does the process of ours on a cluster's node.

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

from common.file_lock import try_lock
from training.core import parent_watchdog, run_secrets
from training.runs.launchers import Busy, Usage, recipe_bounds
from training.runs.launchers.forked_process import ForkedProcess, Request, fork
from training.runs.launchers.recipe_bounds import UMASK

RUN_VARIABLE = "ASSAY_RUN_DIRECTORY"  # marks every process of a run, however it was started
_ROUNDS = 3  # of looking for leftovers; the lock keeps out what withstands them all
# glibc (2.35 and later) asks for pages of 2 MB. With those of 4 kB a processor looks up more addresses than it can
# remember: a decoding step of 32 rows took 130 ms, and takes 75.
HUGE_PAGES = "glibc.malloc.hugetlb=1"
NO_USAGE = Usage(0.0, 0)
Secrets = Mapping[str, Sequence[str]]
NO_SECRETS: Secrets = MappingProxyType({})
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
Process = subprocess.Popen[bytes] | ForkedProcess


@dataclass
class Recipe:
    """A recipe that was started here."""

    process: Process
    pipe_end: int  # the write end: closing it ends the recipe
    directory: Path
    processes: int = 1
    usage: Usage = NO_USAGE
    is_over: bool = False


def lock(directory: Path) -> IO[str]:
    """Return the lock of a run directory. Raises Busy while a process of an earlier attempt holds it."""
    file = (directory / "lock").open("w")
    if not try_lock(file):
        file.close()
        raise Busy("an earlier attempt is still ending")
    return file


def open_log(directory: Path, module: str) -> IO[bytes]:
    """Return the log of a run, with a line that says what begins now."""
    log = (directory / "log.txt").open("ab", buffering=0)
    log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC: {module}\n".encode())
    return log


def full_environment(variables: Mapping[str, str], directory: Path, *, processes: int, threads: int) -> dict[str, str]:
    """Return the variables of a recipe: those that it is given, and what each recipe is told."""
    environment = {
        **variables,
        RUN_VARIABLE: str(directory),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if processes > 1:  # they share the cores, whatever one alone was given
        environment["OMP_NUM_THREADS"] = str(threads)
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    environment.setdefault("GLIBC_TUNABLES", HUGE_PAGES)
    # The worker's own one thread is for the small systems of ratings; a recipe's matrices are large.
    environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"]
    return environment


def start(
    directory: Path,
    line: list[str],
    environment: Mapping[str, str],
    *,
    folder: Path,
    lock: IO[str],
    log: IO[bytes],
    limits: Mapping[str, int] = NO_LIMITS,
    secrets: Secrets = NO_SECRETS,
    descriptors: Sequence[int] = (),
    processes: int = 1,
    fork_server: Path | None = None,
    **options: Any,
) -> Recipe:
    """Start the command `line`, within limits, in `folder`. It inherits the lock, the log and `descriptors`, and its
    `secrets` by a pipe.

    `fork_server` is the address of one that may do it; a new process does where it cannot. `options` are Popen's own.
    The caller closes its copies of the files. Raises Busy when it is not known whether the recipe began.
    """
    with contextlib.ExitStack() as own_copies:
        read_end, write_end = os.pipe()
        own_copies.callback(os.close, read_end)
        secrets_pipe = own_copies.enter_context(_pipe_of(secrets))
        variables = {**environment, parent_watchdog.ENVIRONMENT_NAME: str(read_end), **secrets_pipe.environment}
        inherited = [read_end, lock.fileno(), *descriptors, *secrets_pipe.descriptors]
        try:
            process: Process | None = None
            if fork_server is not None and not options:
                request = Request(line[2:], variables, str(folder), UMASK, dict(limits), [1, 2, *inherited])
                process = fork(fork_server, request, [log.fileno(), log.fileno(), *inherited])
            process = process or subprocess.Popen(
                recipe_bounds.limited_command(line, limits),
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=UMASK,
                pass_fds=inherited,
                **options,
            )
        except BaseException:
            os.close(write_end)
            raise
    return Recipe(process, write_end, directory, processes)


def poll(recipe: Recipe) -> int | None:
    """Return the exit status, None while it works; what it started ends with it."""
    measure(recipe)
    code = recipe.process.poll()
    if code is not None:
        end_members(recipe)
    return code


def stop(recipe: Recipe, grace_seconds: float) -> None:
    """Send SIGTERM to all that the recipe started, and SIGKILL to what is left after the grace."""
    if recipe.is_over:
        return
    measure(recipe)
    _signal_group(recipe.process.pid, signal.SIGTERM)
    try:
        recipe.process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        _signal_group(recipe.process.pid, signal.SIGKILL)
        recipe.process.wait()
    end_members(recipe)


def let_go(recipe: Recipe) -> None:
    """Let go of a recipe that has ended; one that has not ends now."""
    os.close(recipe.pipe_end)


def end_members(recipe: Recipe) -> None:
    """Kill what the recipe, which has ended, started. Once: later, the group's number may be another's."""
    if not recipe.is_over:
        recipe.is_over = True
        _signal_group(recipe.process.pid, signal.SIGKILL)
        if recipe.processes > 1:  # each leads a session of its own
            end_leftovers(recipe.directory)


def end_leftovers(directory: Path) -> None:
    """Kill whatever still works in this run directory on this machine."""
    for _ in range(_ROUNDS):  # more than one: what forked while the others were listed is not among them
        leftovers = [p for p in psutil.process_iter() if p.pid != os.getpid() and works_in(p, directory)]
        if not leftovers:
            return
        for process in leftovers:
            with contextlib.suppress(psutil.NoSuchProcess):  # the parent watchdog is ending them at the same time
                process.kill()
        psutil.wait_procs(leftovers, timeout=10)


def works_in(process: psutil.Process, directory: Path) -> bool:
    """Return whether a process belongs to the run of that directory: by its environment, or, since a fork keeps that of
    its server, by the lock that it holds."""
    try:
        if process.environ().get(RUN_VARIABLE) == str(directory):
            return True
        return str(directory.resolve() / "lock") in open_files(process.pid)
    except (psutil.Error, OSError):
        return False


def open_files(pid: int) -> set[str]:
    """Return what the descriptors of a process refer to, on Linux. Raises OSError where this user may not know."""
    names = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            names.add(str(entry.readlink()))
    return names


def measure(recipe: Recipe) -> None:
    """Measure CPU time and memory while it lives; the last reading stays when it is gone."""
    try:
        leader = psutil.Process(recipe.process.pid)
        members = [leader, *(leader.children(recursive=True) if recipe.processes > 1 else [])]
        times = [member.cpu_times() for member in members]
        seconds = sum(t.user + t.system + t.children_user + t.children_system for t in times)
        memory = sum(member.memory_info().rss for member in members)
    except psutil.Error:
        return
    recipe.usage = Usage(max(seconds, recipe.usage.cpu_seconds), max(memory, recipe.usage.memory_bytes))


@dataclass(frozen=True)
class _LaunchInputs:
    environment: dict[str, str]
    descriptors: list[int]


@contextlib.contextmanager
def _pipe_of(secrets: Secrets) -> Iterator[_LaunchInputs]:
    """Hold the pipe by which the recipe learns them, until it has inherited its end."""
    if not secrets:
        yield _LaunchInputs({}, [])
        return
    pipe = run_secrets.pipe_with(secrets)
    try:
        yield _LaunchInputs({run_secrets.DESCRIPTOR: str(pipe)}, [pipe])
    finally:
        os.close(pipe)


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return  # nothing is left of it
