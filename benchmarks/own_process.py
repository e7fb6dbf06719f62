"""Work of benchmarks in a process of its own: a recipe on its run directory, a contestant on its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_module(module: str, path: Path, log: Path | None = None, **environment: str) -> int:
    """Return the exit status of `python -m MODULE PATH`; what it prints goes to the log, without one nowhere."""
    with (log or Path(os.devnull)).open("w", encoding="utf-8") as output:
        return subprocess.run(
            [sys.executable, "-m", module, str(path)], env={**os.environ, **environment}, stdout=output, stderr=output
        ).returncode
