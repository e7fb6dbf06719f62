"""Bound what a recipe gets of its machine: variables without secrets, and limits. Pure: nodes of a cluster use it."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import psutil

from training.runs.launchers import limits

UMASK = 0o077
GB = 2**30

_NAMES = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TEMP", "TMP", "VIRTUAL_ENV"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "XDG_CACHE_HOME", "ASSAY_DTYPE", "ASSAY_PRIVATE_ENDPOINTS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GLIBC_TUNABLES"),
)
_BEGINNINGS = (
    *("LC_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "MALLOC_", "NUMBA_", "NUMEXPR_"),
    *("CUDA", "CUBLAS_", "NVIDIA_", "NCCL_", "GLOO_", "UCX_", "ROCR_", "HIP_", "HSA_", "MIOPEN_"),
    *("TORCH", "PYTORCH_", "TRITON_", "ACCELERATE_", "TRANSFORMERS_", "TOKENIZERS_", "HF_", "DATASETS_"),
)
_SECRET = re.compile(r"(^|_)(TOKENS?|KEYS?|SECRETS?|PASS(WORD|WD|PHRASE)?|CREDENTIALS?|AUTH)(_|$)", re.IGNORECASE)


def variables_of(environment: Mapping[str, str], wanted: Collection[str]) -> dict[str, str]:
    """Return those of a process's variables that a recipe is given: `wanted` by name, and what holds no secret."""
    variables = {name: value for name, value in environment.items() if name in wanted or _is_harmless(name)}
    if "HF_TOKEN" not in variables:
        variables["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"  # nor one that somebody's `hf auth login` left in a file
    return variables


def limits_of(*, memory_bytes: int, file_gb: float, processes: int, threads: int) -> dict[str, int]:
    """Return {name of resource's RLIMIT_*: most}; 0 is no limit. A core file would hold what was in memory: none is
    written.

    `threads` is what the recipe's user runs now: the kernel's limit is of all of them, on the whole machine.
    """
    most = {"CORE": 0}
    if memory_bytes:
        most["DATA"] = memory_bytes
    if file_gb:
        most["FSIZE"] = int(file_gb * GB)
    if processes:
        most["NPROC"] = processes + threads
    return most


def limited_command(line: list[str], most: Mapping[str, int]) -> list[str]:
    """Return the command line that sets the limits and then becomes `line`, in the same process."""
    texts = [f"{name}={value}" for name, value in most.items()]
    return [sys.executable, "-I", "-S", str(Path(limits.__file__).resolve()), *texts, "--", *line]


def threads_of(uid: int) -> int:
    """Return how many threads a user has now, as the kernel counts them."""
    total = 0
    for process in psutil.process_iter():
        try:
            if process.uids().real == uid:
                total += process.num_threads()
        except psutil.Error:
            continue
    return total


def _is_harmless(name: str) -> bool:
    return name in _NAMES or (name.startswith(_BEGINNINGS) and not _SECRET.search(name))
