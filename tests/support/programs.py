"""Start Python programs for tests without loading their libraries anew: they are forked from the tests' fork server.

What a web process imports costs 1.5 seconds of a processor, torch and transformers three more, and tests of whole sites
start hundreds of processes. The server refuses what would read another environment as it loads, other checkouts
among it: that is started anew, as is what a test measures whole (memory), or kills with all its descendants.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shlex
import string
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil

from tests.support.fork_servers import VARIABLE
from tests.support.processes import until
from training.runs.launchers import forked_process
from training.runs.launchers.forked_process import ForkedProcess, Request

MODULE = "tests.support.forked_program"
_LOOK_SECONDS = 0.02
_Popen = subprocess.Popen
_PARAMETERS = inspect.signature(_Popen._execute_child)  # type: ignore[attr-defined]


@contextlib.contextmanager
def forked() -> Iterator[None]:
    """Have what this process starts until the end of the block, and what that starts in turn, be forked: where the
    tests have a fork server (tests/site/conftest.py)."""
    address = os.environ.get(VARIABLE, "")
    if address.startswith("/"):
        until(Path(address).exists, 300, "the fork server has loaded its libraries")
    with patch("subprocess.Popen", ForkedPopen):
        yield


def mark_of(data: str | Path) -> str:
    """Return the last word of the command lines of forked programs that have this data folder."""
    return f"(ASSAY_DATA={data})"


def processes_of(data: Path) -> list[psutil.Process]:
    """Return the forked programs that have this data folder, and recipes at work in it: their parent is the server."""
    words = (mark_of(data), f" {data}/runs/")
    lines = ((process, " ".join(_command_line(process))) for process in psutil.process_iter())
    return [process for process, line in lines if any(word in line for word in words)]


def _command_line(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


class ForkedPopen(_Popen):
    """A Popen whose process is forked where it is a Python program that the server takes."""

    _fork: ForkedProcess | None = None

    def _execute_child(self, *values: Any) -> None:
        given = _PARAMETERS.bind(self, *values).arguments
        program = None if _is_special(given) else program_of(given["args"], given["env"] or os.environ)
        if program is None or not self._is_forked(program, given):
            super()._execute_child(*values)  # type: ignore[misc]

    def _is_forked(self, program: tuple[list[str], dict[str, str]], given: Mapping[str, Any]) -> bool:
        words, environment = program
        numbers = (
            [0, 1, 2, *sorted(given["pass_fds"])] if given["p2cread"] != -1 else [1, 2, *sorted(given["pass_fds"])]
        )
        own = {0: given["p2cread"], 1: given["c2pwrite"], 2: given["errwrite"]}
        files = [number if own.get(number, -1) == -1 else own[number] for number in numbers]
        folder = os.fspath(given["cwd"] or Path.cwd())
        request = Request([MODULE, *words], environment, str(Path(folder).resolve()), _umask(), {}, numbers)
        fork = forked_process.fork(Path(os.environ[VARIABLE]), request, files)
        if fork is None:
            return False
        self._fork, self._forks_lock = fork, threading.Lock()
        self.pid, self._child_created = fork.pid, True
        own_ends = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(given[name] for name in own_ends))  # type: ignore[attr-defined]
        return True

    def _internal_poll(self, *values: Any, **named: Any) -> int | None:
        if self._fork is None:
            return super()._internal_poll(*values, **named)  # type: ignore[misc]
        with self._forks_lock:
            self.returncode = self._fork.poll()
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        if self._fork is None:
            return super()._wait(timeout)  # type: ignore[misc]
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._internal_poll()) is None:
            if end is not None and time.monotonic() >= end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(_LOOK_SECONDS)
        return code


def program_of(line: Sequence[Any], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]] | None:
    """Return the words after `python`, and the environment; None for what is no Python program, or one with options.

    A line of the Procfile is one as well: `/bin/sh -c "exec env NAME=VALUE python …"`.
    """
    if isinstance(line, (str, bytes)):
        return None
    words, variables = [os.fspath(word) for word in line], dict(environment)
    if words[:2] == ["/bin/sh", "-c"] and len(words) == 3 and words[2].startswith("exec "):
        words = shlex.split(string.Template(words[2]).safe_substitute(variables))[1:]
        if words[:1] == ["env"]:
            words = words[1:]
        while words and "=" in words[0]:
            name, _, value = words.pop(0).partition("=")
            variables[name] = value
        if words[:1] != ["python"]:
            return None
        words[0] = sys.executable
    if words[:1] != [sys.executable] or len(words) < 2:
        return None
    own = words[2:] if words[1] == "-P" else words[1:]
    return (words[1:], variables) if own and (own[0] in ("-m", "-c") or own[0].endswith(".py")) else None


def _is_special(given: Mapping[str, Any]) -> bool:
    """Return whether something is asked of Popen that the server does not do."""
    users = [given[name] for name in ("uid", "gid") if given[name] is not None]
    return bool(given["shell"] or given["preexec_fn"] or given["executable"] or users or VARIABLE not in os.environ)


def _umask() -> int:
    """Return this process's mask, which cannot be read but by setting it for a moment, but in /proc."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
