"""Programs that tests have forked (tests/support/programs.py) are what `python` would have made of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import programs
from tests.support.processes import ROOT, until

pytestmark = pytest.mark.slow
PARENT = "import os; print(os.getppid())"


@pytest.fixture(autouse=True)
def _programs_are_forked():
    with programs.forked():
        yield


def said(*words: str, **options) -> str:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=True, **options
    ).stdout.strip()


def test_it_is_a_fork_with_its_own_input_output_folder_and_arguments(tmp_path: Path):
    assert int(said("-c", PARENT)) != os.getpid()
    script = tmp_path / "script.py"
    script.write_text("import os, sys; print(sys.argv[1:], os.getcwd(), sys.path[0], input(), os.environ['NEW'])")
    answer = said(str(script), "a", "b", cwd=ROOT / "docs", input="in\n", env={**os.environ, "NEW": "new"})
    assert answer == f"['a', 'b'] {ROOT / 'docs'} {tmp_path} in new"
    line = ["/bin/sh", "-c", f"exec env MORE=$NEW python {script}"]
    done = subprocess.run(line, input=b"in\n", capture_output=True, check=True, env={**os.environ, "NEW": "new"})
    assert done.stdout.decode().split() == ["[]", str(Path.cwd()), str(tmp_path), "in", "new"]


def test_it_ends_by_itself_and_by_signals():
    failed = subprocess.run([sys.executable, "-c", "raise SystemExit('why')"], capture_output=True, text=True)
    assert (failed.returncode, failed.stderr) == (1, "why\n")
    sleeping = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"])
    with pytest.raises(subprocess.TimeoutExpired):
        sleeping.wait(0.1)
    assert "time.sleep(60)" in " ".join(psutil.Process(sleeping.pid).cmdline())
    sleeping.terminate()
    assert sleeping.wait(30) == sleeping.poll() == -signal.SIGTERM
    until(lambda: not psutil.pid_exists(sleeping.pid), 30)


@pytest.mark.parametrize("name", ["PYTHONPATH", "HF_HOME", "MALLOC_ARENA_MAX"])
def test_what_would_load_other_code_or_read_another_environment_is_started_anew(name, tmp_path: Path):
    assert int(said("-c", PARENT, env={**os.environ, name: str(tmp_path)})) == os.getpid()


def test_what_it_starts_is_forked_too():
    inner = (
        f"import subprocess, sys; print(subprocess.run([sys.executable, '-c', {PARENT!r}], capture_output=True).stdout)"
    )
    assert said("-c", inner) == repr(f"{said('-c', PARENT)}\n".encode()), "of the same server"
