"""Scripts that a newcomer runs say what they do, and what takes long."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "script"
SOURCED, BY_PYTHON = "environment", "pictures"  # whose own options have their help


@pytest.mark.parametrize(
    "name", sorted(each.name for each in SCRIPTS.iterdir() if each.name not in (SOURCED, BY_PYTHON))
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_a_script_tells_what_it_does_and_does_nothing(name: str, option: str, tmp_path: Path) -> None:
    """Without a PATH nothing but the shell and sed can run."""
    for tool in ("sh", "sed"):
        found = subprocess.run(["sh", "-c", f"command -v {tool}"], capture_output=True, text=True, check=True)
        (tmp_path / tool).symlink_to(found.stdout.strip())
    told = subprocess.run(
        [tmp_path / "sh", SCRIPTS / name, option], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    first = (SCRIPTS / name).read_text().splitlines()[1].removeprefix("# ")
    assert (told.returncode, told.stderr) == (0, "") and told.stdout.splitlines()[0] == first
    assert "set -eu" not in told.stdout


def test_the_database_is_prepared_with_a_word(tmp_path: Path) -> None:
    """Whoever starts a server sees why nothing is there yet."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho migrating >&2\n")
    python.chmod(0o755)
    script = f'. "{SCRIPTS}/environment"; python="{python}"; prepare_database 0'
    told = subprocess.run(
        ["sh", "-c", script], env={"PATH": "/usr/bin:/bin", "ASSAY_DATA": str(tmp_path)}, capture_output=True, text=True
    )
    said, did = told.stderr.splitlines()
    assert said.startswith(f"Preparing the database in {tmp_path}: ") and "minute" in said and did == "migrating"
