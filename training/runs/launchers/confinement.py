"""Confine a recipe: an environment without the site's secrets, limits, and a user of its own.

A recipe reads what researchers and strangers wrote: texts, models, names of corpora. It gets the variables that
programs of its sort need, and none that opens a database, a mail server or somebody's account; a kind that cannot do
without a secret names it (`Kind.variables`). ASSAY_RECIPE_ENVIRONMENT hands down more by name.

As the worker's own user it could still read what the worker can (its files, /proc of its processes): only another user
(ASSAY_RECIPE_USER, for a worker that root started) keeps the two apart.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from common.proxy_variables import PROXIES
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure, RunDirectory
from training.runs.launchers import gpus, recipe_bounds
from training.runs.launchers import host_memory as memory


@dataclass(frozen=True)
class Person:
    """The user that a recipe runs as, if it is not the worker's own."""

    name: str
    uid: int
    gid: int
    home: str


def environment(directory: Path) -> dict[str, str]:
    """Return the variables that a recipe of this run directory is given, of those that the worker has."""
    variables = recipe_bounds.variables_of(os.environ, wanted_variables(directory))
    if found_person := person():
        variables |= {"HOME": found_person.home, "USER": found_person.name, "LOGNAME": found_person.name}
    return variables


def wanted_variables(directory: Path) -> set[str]:
    """Return the names of what this run is given beside the variables that hold no secret."""
    return {*_variables_of_kind(directory), *settings.RECIPE_ENVIRONMENT}


def person() -> Person | None:
    """Return whom ASSAY_RECIPE_USER names. Raises RecipeFailure when there is nobody of that name, or the worker may
    not."""
    name = settings.RECIPE_USER
    if not name:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise RecipeFailure(
            "recipe_user",
            f"ASSAY_RECIPE_USER is {name!r}, and this machine has no such user.",
            "The operator must create that user, or set another one, and restart the worker.",
        ) from None
    if os.geteuid() != 0 and entry.pw_uid != os.geteuid():
        raise RecipeFailure(
            "recipe_user",
            f"The worker cannot start a recipe as {name}, because it does not run as root.",
            "The operator must start the worker as root, or leave ASSAY_RECIPE_USER empty.",
        )
    return Person(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def memory_limit() -> int:
    """Return the bytes that one process of a recipe may have of its own; 0 is no limit.

    By default what the machine has: beyond it the kernel would kill somebody, perhaps the web process. With GPUs there
    is no default: what drivers map counts, and is no memory of the machine.
    """
    if settings.RECIPE_MEMORY_GB:
        return int(settings.RECIPE_MEMORY_GB * recipe_bounds.GB)
    return 0 if gpus.names() else memory.limit()


def hand_over(directory: Path, to: Person | None) -> None:
    """Give the run directory to the recipe's user, but for `data/` and what other directories share: that is only
    read."""
    if to is None:
        return
    os.chown(directory, to.uid, to.gid)
    for path, _, files in os.walk(directory):
        folder = Path(path)
        if folder == directory / "data" or directory / "data" in folder.parents:
            continue
        for entry in [folder, *(folder / name for name in files)]:
            if not entry.is_symlink() and (entry.is_dir() or entry.stat().st_nlink == 1):
                os.chown(entry, to.uid, to.gid, follow_symlinks=False)


def take_back(directory: Path, recipe_user: Person | None) -> None:
    """Give what a recipe left to the worker, so that no later recipe may change it; delete links out of the
    directory."""
    if recipe_user is None:
        return
    real = directory.resolve()
    for path, folders, files in os.walk(directory):
        folder = Path(path)
        os.chown(folder, os.geteuid(), os.getegid(), follow_symlinks=False)
        for entry in (folder / name for name in [*folders, *files]):
            if entry.is_symlink() and not entry.resolve().is_relative_to(real):
                entry.unlink()
            elif not entry.is_symlink() and entry.lstat().st_uid == recipe_user.uid:
                os.chown(entry, os.geteuid(), os.getegid(), follow_symlinks=False)


def _variables_of_kind(directory: Path) -> tuple[str, ...]:
    try:
        spec = RunDirectory(directory).spec()
    except FileNotFoundError:  # nothing but a folder, as a recipe's own tests may use it
        return ()
    kind = KINDS.get(spec.kind)
    names = kind.variables(spec.config) if kind is not None and kind.variables is not None else ()
    return (*names, *PROXIES) if spec.endpoints else names


def limits() -> dict[str, int]:
    """Return {name of resource's RLIMIT_*: most} of a recipe."""
    return recipe_bounds.limits_of(
        memory_bytes=memory_limit(),
        file_gb=settings.RECIPE_FILE_GB,
        processes=settings.RECIPE_PROCESSES,
        threads=_threads_of_user() if settings.RECIPE_PROCESSES else 0,
    )


def _threads_of_user() -> int:
    user = person()
    return recipe_bounds.threads_of(user.uid if user else os.getuid())
