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
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.conf import settings

from training.core.kinds import KINDS, PROXIES
from training.core.run_directory import RecipeFailure, RunDirectory
from training.runs.launchers import gpus, limits
from training.runs.launchers import host_memory as memory

UMASK = 0o077
_GB = 2**30

_NAMES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "XDG_CACHE_HOME", "ASSAY_DTYPE", "ASSAY_PRIVATE_ENDPOINTS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)
_BEGINNINGS = (
    *("LC_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "NUMBA_", "NUMEXPR_"),
    *("CUDA", "CUBLAS_", "NVIDIA_", "NCCL_", "GLOO_", "UCX_", "ROCR_", "HIP_", "HSA_", "MIOPEN_"),
    *("TORCH", "PYTORCH_", "TRITON_", "ACCELERATE_", "TRANSFORMERS_", "TOKENIZERS_", "HF_", "DATASETS_"),
)
_SECRET = re.compile(r"(^|_)(TOKENS?|KEYS?|SECRETS?|PASS(WORD|WD|PHRASE)?|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Person:
    """The user that a recipe runs as, if it is not the worker's own."""

    name: str
    uid: int
    gid: int
    home: str


def environment(directory: Path) -> dict[str, str]:
    """Return the variables that a recipe of this run directory is given, of those that the worker has."""
    wanted_names = {*_variables_of_kind(directory), *settings.RECIPE_ENVIRONMENT}
    variables = {name: value for name, value in os.environ.items() if name in wanted_names or _is_harmless(name)}
    if "HF_TOKEN" not in variables:
        variables["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"  # nor one that somebody's `hf auth login` left in a file
    if found_person := person():
        variables |= {"HOME": found_person.home, "USER": found_person.name, "LOGNAME": found_person.name}
    return variables


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
            "Have the operator make that user, or name another, and start the worker again.",
        ) from None
    if os.geteuid() != 0 and entry.pw_uid != os.geteuid():
        raise RecipeFailure(
            "recipe_user",
            f"The worker may not start a recipe as {name}: it is not run by root.",
            "Have the operator start the worker as root, or leave ASSAY_RECIPE_USER empty.",
        )
    return Person(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def command(line: list[str]) -> list[str]:
    """Return the command line that sets the limits and then becomes `line`, in the same process."""
    texts = [f"{name}={value}" for name, value in _limits().items()]
    return [sys.executable, "-I", "-S", str(Path(limits.__file__).resolve()), *texts, "--", *line]


def memory_limit() -> int:
    """Return the bytes that one process of a recipe may have of its own; 0 is no limit.

    By default what the machine has: beyond it the kernel would kill somebody, perhaps the web process. With GPUs there
    is no default: what drivers map counts, and is no memory of the machine.
    """
    if settings.RECIPE_MEMORY_GB:
        return int(settings.RECIPE_MEMORY_GB * _GB)
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


def _is_harmless(name: str) -> bool:
    return name in _NAMES or (name.startswith(_BEGINNINGS) and not _SECRET.search(name))


def _limits() -> dict[str, int]:
    """Return {name of resource's RLIMIT_*: most}. A core file would hold what was in memory: none is written."""
    limits = {"CORE": 0}
    if most := memory_limit():
        limits["DATA"] = most
    if settings.RECIPE_FILE_GB:
        limits["FSIZE"] = int(settings.RECIPE_FILE_GB * _GB)
    if settings.RECIPE_PROCESSES:
        limits["NPROC"] = settings.RECIPE_PROCESSES + _threads_of_user()
    return limits


def _threads_of_user() -> int:
    """Return how many the kernel counts now: the limit is of all that a user runs, on the whole machine."""
    user = person()
    uid = user.uid if user else os.getuid()
    total = 0
    for process in psutil.process_iter():
        try:
            if process.uids().real == uid:
                total += process.num_threads()
        except psutil.Error:
            continue
    return total
