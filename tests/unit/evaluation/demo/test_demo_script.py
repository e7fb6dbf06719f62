"""The first line of `script/demo`, before packages and migrations are looked at."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[4] / "script" / "demo"
# In place of what installs packages: by then it must have been said.
ENVIRONMENT = "say() { printf '%s\\n' \"$*\" >&2; }\nmake_environment() { exit 0; }\n"


@pytest.fixture
def start(tmp_path):
    (tmp_path / "script").mkdir()
    shutil.copy(SCRIPT, tmp_path / "script" / "demo")
    (tmp_path / "script" / "environment").write_text(ENVIRONMENT)
    data = tmp_path / "somewhere"
    data.mkdir()

    def started() -> str:
        script = tmp_path / "script" / "demo"
        environment = {"PATH": "/usr/bin:/bin", "ASSAY_DATA": str(data)}
        return subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=True).stderr

    return data, started


def test_a_demo_that_starts_again_says_at_once_what_it_goes_on_with(start):
    data, started = start
    (data / "accounts.json").write_text("{}")
    assert started().startswith(f"Going on with what stands in {data};")
    (data / "demo").mkdir()
    (data / "demo" / "demo.json").write_text(json.dumps({"title": "PPO follows the reward", "number": 7}))
    assert started().startswith(f"Going on with what stands in {data}, from the stage “PPO follows the reward”;")


def test_the_first_start_has_nothing_to_go_on_with(start):
    assert start[1]() == ""
