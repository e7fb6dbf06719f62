"""Run a Python program in a process that the tests' fork server has just forked: `-m MODULE`, `-c CODE` or a FILE, as
`python` takes it. What it starts in turn is forked, too. Asked by tests/support/programs.py."""

from __future__ import annotations

import gc
import os
import runpy
import subprocess
import sys
from pathlib import Path

import setproctitle

from tests.support import programs


def main(words: list[str]) -> None:
    data = os.environ.get("ASSAY_DATA", "")
    setproctitle.setproctitle(" ".join([sys.executable, *words, *([programs.mark_of(data)] if data else [])]))
    _share_cores()
    gc.set_threshold(20_000, 20, 20)  # what is imported stays: to look at it again and again takes a tenth of the time
    if os.environ.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    subprocess.Popen = programs.ForkedPopen  # type: ignore[misc]
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if words[0] == "-P":
        del sys.path[0]
        words = words[1:]
    _run(*words)


def _share_cores() -> None:
    """Have torch use the threads that this program was given: the server has read its own."""
    if threads := os.environ.get("OMP_NUM_THREADS"):
        sys.modules["torch"].set_num_threads(int(threads))


def _run(first: str, *rest: str) -> None:
    if first == "-m":
        sys.argv = list(rest)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), sys.modules["__main__"].__dict__)
    else:
        sys.argv = [first, *rest]
        if sys.path[:1] == [str(Path.cwd())]:
            sys.path[0] = str(Path(first).resolve().parent)
        runpy.run_path(first, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
