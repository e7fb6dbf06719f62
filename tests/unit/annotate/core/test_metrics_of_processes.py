"""Processes at one port add their counters up, and what a dead one had open is open no more."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from annotate.core.metrics import shared_folder

ROOT = Path(__file__).resolve().parents[4]
_COUNTS = """
import sys
from annotate.core.metrics import counters
counters.VOTES.labels("battle", "accepted").inc()
counters.MODEL_SERVER_SECONDS.labels("own").observe(1.0)
counters.WEBSOCKETS.inc()
print("counted", flush=True)
sys.stdin.read()
"""
_TELLS = "from annotate.core.metrics import exposition; print(exposition.text_of([]).decode())"


def start(code: str, folder: Path) -> subprocess.Popen:
    environment = {**os.environ, shared_folder.VARIABLE: str(folder), "DJANGO_SETTINGS_MODULE": "config.settings"}
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def told(folder: Path) -> list[str]:
    output, _ = start(_TELLS, folder).communicate(timeout=120)
    return [line for line in output.splitlines() if line.startswith("assay_")]


@pytest.mark.slow
def test_counters_of_several_processes_are_one(tmp_path):
    both = [start(_COUNTS, tmp_path) for _ in range(2)]
    try:
        assert [one.stdout.readline() for one in both] == ["counted\n"] * 2
        lines = told(tmp_path)
        assert 'assay_votes_total{kind="battle",outcome="accepted"} 2.0' in lines
        assert 'assay_model_server_seconds_count{server="own"} 2.0' in lines and "assay_websockets 2.0" in lines
        both[0].kill(), both[0].wait()
        lines = told(tmp_path)
        assert 'assay_votes_total{kind="battle",outcome="accepted"} 2.0' in lines and "assay_websockets 1.0" in lines
    finally:
        for one in both:
            one.kill(), one.communicate()


def test_one_process_at_a_port_counts_by_itself(monkeypatch):
    monkeypatch.delenv(shared_folder.VARIABLE, raising=False)
    shared_folder.share()
    assert shared_folder.VARIABLE not in os.environ


def test_children_of_one_parent_share_a_folder_and_those_of_dead_parents_go(monkeypatch, tmp_path):
    monkeypatch.setattr(shared_folder.tempfile, "gettempdir", lambda: str(tmp_path))
    parent = SimpleNamespace(pid=os.getppid())
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: parent)
    monkeypatch.setenv(shared_folder.VARIABLE, "")
    ended = subprocess.Popen(["true"])
    ended.wait()
    left, other = (tmp_path / f"assay-metrics-{os.getuid()}-{pid}-7" for pid in (ended.pid, os.getpid()))
    left.mkdir(), other.mkdir()
    shared_folder.share()
    folder = Path(os.environ[shared_folder.VARIABLE])
    assert folder.parent == tmp_path and folder.stat().st_mode & 0o077 == 0
    assert not left.exists() and other.exists()
    monkeypatch.setenv(shared_folder.VARIABLE, "")
    shared_folder.share()
    assert Path(os.environ[shared_folder.VARIABLE]) == folder
