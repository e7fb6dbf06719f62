"""The local launcher and the parent watchdog: a recipe ends with whoever started it, and never works twice at once."""

from __future__ import annotations

import functools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.support.processes import until
from training.runs.launchers import Busy, gpus, local, module_named, recipe_process
from training.runs.queue import worker_names

SLEEPER = "tests.support.training.sleeper"


@pytest.fixture
def directory(tmp_path: Path, way_of_starting):
    folder = tmp_path / "run"
    folder.mkdir()
    yield folder
    for handle in list(local._children):
        local.stop(handle, 0)
        local.forget(handle)


def started(directory: Path, *, children: int = 1) -> list[int]:
    """The PIDs that the sleeper wrote, itself first."""
    path = directory / "pids.txt"
    until(lambda: path.exists() and len(path.read_text().split()) == 1 + children)
    return [int(pid) for pid in path.read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_output_and_exit_status_of_a_recipe_are_kept(directory):
    (directory / "exit.txt").write_text("3")
    handle = local.submit(directory, SLEEPER)
    assert until(lambda: local.poll(handle) is not None) and local.poll(handle) == 3
    log = local.logs(directory)
    assert "UTC: tests.support.training.sleeper" in log and "good morning" in log and "on the error stream" in log


def test_a_recipe_runs_in_a_session_of_its_own_and_yields_to_pages(directory, settings):
    settings.RECIPE_NICE = 10
    handle = local.submit(directory, SLEEPER)
    pid = started(directory)[0]
    assert os.getsid(pid) == pid and psutil.Process(pid).nice() >= 5
    session = Path(f"/proc/{pid}/autogroup")
    if session.exists():  # Linux weighs sessions first, so that a nice process in a session of its own yields to nobody
        assert int(session.read_text().split()[-1]) >= 5
    environment = json.loads((directory / "environment.json").read_text())
    assert int(environment["OMP_NUM_THREADS"]) >= 1 and environment[local.RUN_VARIABLE] == str(directory)
    assert local.poll(handle) is None


def test_a_recipe_has_threads_of_its_own_whatever_the_worker_has(directory, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    local.submit(directory, SLEEPER)
    started(directory)
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["OPENBLAS_NUM_THREADS"] == environment["OMP_NUM_THREADS"] == "7"


def test_memory_of_a_recipe_lies_on_huge_pages_unless_its_operator_tunes_malloc(directory, monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
    local.submit(directory, SLEEPER)
    started(directory)
    environment = json.loads((directory / "environment.json").read_text())
    assert environment["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=0"
    fills = "block = bytearray(2**26); print(open('/proc/self/smaps').read())"
    variables = recipe_process.full_environment({}, directory, processes=1, threads=1)
    maps = subprocess.run(
        [sys.executable, "-c", fills], env=variables, capture_output=True, text=True, check=True
    ).stdout
    advised = [part for part in maps.split("VmFlags:")[1:] if " hg" in part.splitlines()[0]]
    assert bool(advised) == (platform.libc_ver()[0] == "glibc" and _version(platform.libc_ver()[1]) >= (2, 35))


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def test_stopping_kills_what_ignores_sigterm(directory):
    handle = local.submit(directory, SLEEPER)
    pids = started(directory)
    local.stop(handle, 0.2)
    until(lambda: not any(map(is_alive, pids)), 30)
    assert local.poll(handle) == -signal.SIGTERM, "the recipe itself obeyed; its child did not"


def test_a_second_attempt_waits_until_the_first_is_gone(directory):
    handle = local.submit(directory, SLEEPER)
    started(directory)
    with pytest.raises(Busy, match="still ending"):
        local.submit(directory, SLEEPER)
    local.stop(handle, 0.1)
    (directory / "pids.txt").unlink()
    until(lambda: _submitted(directory), 30)
    started(directory)


def _submitted(directory: Path) -> bool:
    try:
        return bool(local.submit(directory, SLEEPER))
    except Busy:
        return False


def test_leftovers_of_a_worker_that_died_are_ended_before_a_new_attempt(directory):
    environment = {**os.environ, local.RUN_VARIABLE: str(directory)}
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        until(lambda: psutil.Process(orphan.pid).environ().get(local.RUN_VARIABLE))
        local.end_leftovers(directory)
        assert not is_alive(orphan.pid) and other.poll() is None
    finally:
        other.kill()
        other.wait()


def _orphan(directory: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, local.RUN_VARIABLE: str(directory)}
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=environment)
    until(lambda: psutil.Process(orphan.pid).environ().get(local.RUN_VARIABLE))
    return orphan


def test_leftovers_that_end_while_they_are_listed_are_no_error(directory, monkeypatch):
    """As the `sleep` of the shell that ends a group: it goes ten times a second."""
    ended, stays = _orphan(directory), _orphan(directory)
    works_in = recipe_process.works_in

    def and_ends(process: psutil.Process, folder: Path) -> bool:
        found = works_in(process, folder)
        if process.pid == ended.pid:
            ended.kill()
            ended.wait()
        return found

    monkeypatch.setattr(recipe_process, "works_in", and_ends)
    local.end_leftovers(directory)
    assert not is_alive(ended.pid) and not is_alive(stays.pid)


def test_leftovers_that_start_while_others_are_listed_are_ended_too(directory, monkeypatch):
    orphans, listed = [_orphan(directory)], psutil.process_iter

    def and_starts() -> list[psutil.Process]:
        found = list(listed())
        if len(orphans) == 1:
            orphans.append(_orphan(directory))
        return found

    monkeypatch.setattr(recipe_process.psutil, "process_iter", and_starts)
    try:
        local.end_leftovers(directory)
        assert not any(is_alive(orphan.pid) for orphan in orphans)
    finally:
        for orphan in orphans:
            orphan.kill()
            orphan.wait()


def test_the_parent_watchdog_ends_children_that_ignore_sigterm_when_the_parent_is_killed(directory):
    """The parent dies by kill -9; the recipe obeys SIGTERM at once, and its deaf child is killed after the grace."""
    script = (
        "import sys, time; from pathlib import Path; import django; "
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings'; django.setup(); "
        "from training.runs.launchers import local; "
        f"local.submit(Path({str(directory)!r}), {SLEEPER!r}); time.sleep(60)"
    )
    environment = {**os.environ, "ASSAY_DATA": str(directory.parent / "data")}
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[4], env=environment)
    pids = started(directory)
    parent.kill()
    parent.wait()
    until(lambda: not any(map(is_alive, pids)), 30)


def test_each_recipe_gets_a_gpu_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "names", lambda: ("0", "1"))
    with gpus.lease(tmp_path) as first, gpus.lease(tmp_path) as second:
        taken = {first.environment["CUDA_VISIBLE_DEVICES"], second.environment["CUDA_VISIBLE_DEVICES"]}
        assert taken == {"0", "1"}
        with pytest.raises(Busy, match="all GPUs"):
            gpus.lease(tmp_path)
    with gpus.lease(tmp_path) as again:
        assert again.environment["CUDA_VISIBLE_DEVICES"] == "0"


def test_without_gpus_nothing_is_leased(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "names", lambda: ())
    assert gpus.lease(tmp_path).environment == {}


def test_gpus_whose_driver_loads_after_the_worker_has_started_are_handed_out(tmp_path, monkeypatch):
    """Else recipes would find them by themselves, several the same one."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\n[ -e driver ] && printf '0\n1\n'\n")
    program.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "_names", functools.cache(gpus._names.__wrapped__))
    assert gpus.names() == ()
    (tmp_path / "driver").touch()
    assert gpus.names() == ("0", "1")


def test_a_worker_is_gone_only_when_its_process_here_is():
    me = worker_names.identity("me")
    assert not worker_names.is_gone(me)
    place, pid, start = me.rsplit(":", 2)
    for other in ("12345", f"{start}0"):
        assert worker_names.is_gone(f"{place}:{pid}:{other}"), "the number was given to another process"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert worker_names.is_gone(f"{place}:{dead.pid}:{time.time():.0f}")
    elsewhere = f"me@elsewhere:1:{dead.pid}:{time.time():.0f}"
    assert not worker_names.is_gone(elsewhere), "of another machine nothing is known"
    assert not worker_names.is_gone("nonsense")


def test_a_launcher_is_named_shortly_or_by_any_path_that_it_had():
    """A setting of an earlier version names the module where it lay then."""
    assert module_named("local") == module_named(local.__name__) == local.__name__
    assert module_named("training." + "launchers.local") == local.__name__
    assert module_named("site.launchers.local") == "site.launchers.local"
