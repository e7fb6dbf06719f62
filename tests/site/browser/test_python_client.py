"""The example of the Python client, from a file of pairs to an experiment's verdict, against a real site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT
from tests.support.python_client import write_python_client

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
EXAMPLE = ROOT / "clients" / "python" / "examples" / "first_loop.py"


def test_the_example_goes_from_pairs_to_a_verdict(site, owner, tmp_path: Path):
    pairs = [{"prompt": f"What is told of tide {n}?", "chosen": f"Much, {n}.", "rejected": "No."} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in pairs))

    with site.api(owner) as api:
        token = api.headers["Authorization"].removeprefix("Token ")
    done = subprocess.run(
        [sys.executable, EXAMPLE, site.url, "pairs.jsonl", "--model", str(site.made["models"][0])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(write_python_client(tmp_path / "client")), "ASSAY_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    print(done.stdout)
    lines = done.stdout.splitlines()
    assert "import 'pairs': done" in done.stdout and "sft run 'first-loop-child': succeeded" in done.stdout
    assert sum("Counted for the ranking" in line for line in lines) >= 10
    assert any(line.startswith("1. ") and line.endswith("by 10 battles") for line in lines)
    (state, verdict) = site.query("select state, verdict from evaluation_experiment where name = 'methods'")[0]
    assert state == "decided" and lines[-1] and json.loads(verdict)
