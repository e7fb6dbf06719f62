"""One fork server for all that a test process starts: libraries are loaded once, not in each recipe."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.support.processes import ROOT, until
from training.core.processor_share import usable_cores
from training.runs.launchers import forked_process, recipe_bounds, recipe_process
from training.runs.launchers.forked_process import ForkedProcess, Request

VARIABLE = "ASSAY_FORK_SERVER"


@functools.cache
def start_server() -> Path:
    """Start it, and name it to all sites that are started from now on. Until it has loaded, recipes are started anew.

    It ends with this process.
    """
    folder = Path(tempfile.mkdtemp(prefix="assay-fork-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    forked_process.start_server(folder / "socket", environment_of_recipes())
    os.environ[VARIABLE] = str(folder / "socket")
    return folder / "socket"


def loaded_server() -> Path:
    """Return the address of the server, once it has loaded what recipes need."""
    address = start_server()
    until(address.exists, 300, "the fork server has loaded its libraries")
    return address


def forked(module: str, *arguments: str, log: IO[bytes] | None = None, **variables: str) -> ForkedProcess:
    """Return `python -m module arguments` as a process, whose output goes to `log`."""
    request = Request([module, *arguments], {**environment_of_recipes(), **variables}, str(ROOT), 0o022, {}, [1, 2])
    with Path(os.devnull).open("wb") as nothing:
        output = (log or nothing).fileno()
        process = forked_process.fork(loaded_server(), request, [output, output])
    assert process is not None, "the fork server refused; it says why"
    return process


@functools.cache
def environment_of_recipes() -> Mapping[str, str]:
    """Return the variables of recipes, as they were before libraries added theirs to this process's."""
    variables = recipe_bounds.variables_of(os.environ, ())
    return recipe_process.full_environment(variables, Path(), processes=1, threads=usable_cores())
