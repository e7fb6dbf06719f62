"""Name the code that a run was made with: `git describe` of a checkout, else the version in pyproject.toml."""

from __future__ import annotations

import functools
import subprocess
import tomllib

from django.conf import settings


@functools.cache
def code_version() -> str:
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--tags"],
            cwd=settings.BASE_DIR,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return described.stdout.strip()[:80]
    except (OSError, subprocess.SubprocessError):
        project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return str(project["version"])
