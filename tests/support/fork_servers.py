"""One fork server for all that the tests start: libraries are loaded once, not in each recipe."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.support.processes import ROOT, until
from training.core.processor_share import usable_cores
from training.runs.launchers import forked_process, recipe_bounds, recipe_process
from training.runs.launchers.forked_process import ForkedProcess, Request

VARIABLE = "ASSAY_FORK_SERVER"
_SHARED = "ASSAY_TESTS_FORK_SERVER"
SERVER = "tests.support.program_server"  # of whole programs, too


def share_server() -> None:
    """Start it for all test processes that this one starts (`pytest -n 2`). It ends with this process."""
    os.environ[_SHARED] = str(forked_process.start_server(environment_of_recipes(), SERVER).address)


@functools.cache
def start_server() -> Path:
    """Start it where none is shared, and name it to all sites that are started from now on. Until it has loaded,
    recipes are started anew.

    It ends with the process that started it.
    """
    if _SHARED not in os.environ:
        share_server()
    os.environ[VARIABLE] = os.environ[_SHARED]
    return Path(os.environ[VARIABLE])


def loaded_server() -> Path:
    """Return the address of the server, once it has loaded what recipes need."""
    address = start_server()
    until(address.exists, 300, "the fork server has loaded its libraries")
    return address


def asked(
    module: str, *arguments: str, log: IO[bytes] | None = None, server: Path | None = None, **variables: str
) -> ForkedProcess | None:
    """Return `python -m module arguments` as a process that the server forked, None where it refuses. Its output goes
    to `log`."""
    environment = {**environment_of_recipes(), **variables}
    request = Request([module, *arguments], environment, str(ROOT), 0o077, {"CORE": 0}, [1, 2])
    with Path(os.devnull).open("wb") as nothing:
        output = (log or nothing).fileno()
        return forked_process.fork(server or loaded_server(), request, [output, output])


def forked(module: str, *arguments: str, log: IO[bytes] | None = None, **variables: str) -> ForkedProcess:
    """Return what `asked` does, of a server that has no reason to refuse."""
    process = asked(module, *arguments, log=log, **variables)
    assert process is not None, "the fork server refused; it says why"
    return process


@functools.cache
def environment_of_recipes() -> Mapping[str, str]:
    """Return the variables of recipes, as they were before libraries added theirs to this process's, and with what the
    recipes add themselves: by and by all processes of tests have loaded these."""
    importlib.import_module("training.recipes")
    variables = recipe_bounds.variables_of(os.environ, ())
    return recipe_process.full_environment(variables, Path(), processes=1, threads=usable_cores())


def forget_what_libraries_added() -> None:
    """Take out of this process's environment what recipes would be told and `environment_of_recipes` lacks: each
    process of tests loads other libraries, and the server would refuse what differs."""
    for name in recipe_bounds.variables_of(os.environ, ()).keys() - environment_of_recipes().keys():
        del os.environ[name]
