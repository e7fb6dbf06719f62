"""Share counters among the processes that one uvicorn starts at one port, before anything counts.

Prometheus reaches one of them by chance, and would see another one's counters each time. The library adds up what
processes write into files of one folder, if a variable names it before the first counter is made. No Django.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from pathlib import Path

import psutil

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the library's own; it reads it when it is imported
_BEGINNING = "assay-metrics"


def share() -> None:
    """Name a folder to share, where this process is one of several of one parent and none is named."""
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None or os.environ.get(VARIABLE):
        return
    folder = _folder_of(parent.pid)
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else: remove it, or set {VARIABLE} to an empty folder.")
    os.environ[VARIABLE] = str(folder)
    _remove_left_ones()


def _folder_of(pid: int) -> Path:
    began = psutil.Process(pid).create_time()
    return Path(tempfile.gettempdir()) / f"{_BEGINNING}-{os.getuid()}-{pid}-{began:.0f}"


def _remove_left_ones() -> None:
    """Remove the folders of parents that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_BEGINNING}-{os.getuid()}-*"):
        pid = folder.name.split("-")[3]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
