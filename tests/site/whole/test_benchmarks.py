"""Benchmarks at a small size: each runs to its end, so that it can be repeated when somebody asks for its figures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SMALL = {
    "ratings.py": (["--votes", "1000", "--models", "6", "--repeats", "1"], "page after a vote ms"),
}


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_to_its_end(name, tmp_path):
    options, last_figure = SMALL[name]
    environment = {**os.environ, "ASSAY_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}
    environment.pop("DATABASE_URL", None)
    ended = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / name), *options],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    assert last_figure in ended.stdout
