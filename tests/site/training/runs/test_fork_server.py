"""A recipe that is forked from a process with its libraries is what one is that was started anew.

That both are confined, ended and followed alike is in test_launcher and test_confinement.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import tiny_model
from tests.support.fork_servers import asked, environment_of_recipes, forked, loaded_server
from tests.support.processes import ROOT, until
from tests.support.training import sharded_runs
from training.runs.launchers import forked_process, local, recipe_process
from training.runs.launchers.forked_process import ForkedProcess

SEEN, SLEEPER, DRAWS = (f"tests.support.training.{name}" for name in ("confined", "sleeper", "draws"))


def ask(folder: Path, module: str, server: Path | None = None, **differences: str) -> ForkedProcess | None:
    """Return the process that the server forks, in an environment that differs so."""
    with (folder / "log.txt").open("ab") as log:
        return asked(module, str(folder), log=log, server=server, **differences)


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "HF_HOME", "PYTHONPATH", "HOME", "HF_HUB_DISABLE_IMPLICIT_TOKEN"])
def test_it_refuses_what_libraries_would_have_read_as_they_loaded(tmp_path, name):
    assert ask(tmp_path, SEEN, **{name: "another"}) is None


def test_what_is_read_later_is_the_requests_own(tmp_path):
    process = ask(tmp_path, SEEN, ASSAY_DTYPE="bfloat16", HF_TOKEN="theirs")
    assert process is not None and process.wait(60) == 0
    seen = json.loads((tmp_path / "seen.json").read_text())["environment"]
    assert (seen["ASSAY_DTYPE"], seen["HF_TOKEN"]) == ("bfloat16", "theirs")


def test_a_child_holds_no_file_of_the_servers_or_of_another_childs(tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    children = [ask(folder, SLEEPER) for folder in folders]
    try:
        for folder, child in zip(folders, children, strict=True):
            until((folder / "pids.txt").exists, 60)
            files = {str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()}
            assert files == {os.devnull, str(folder / "log.txt")}
            assert " ".join(psutil.Process(child.pid).cmdline()).endswith(f"-m {SLEEPER} {folder}"), "as ps shows it"
    finally:
        for child in children:
            os.killpg(child.pid, signal.SIGKILL)
            assert child.wait(60) == -signal.SIGKILL


def test_each_child_draws_its_own_numbers(tmp_path):
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
        assert ask(folder, DRAWS).wait(60) == 0
    first, second = ((folder / "log.txt").read_text() for folder in folders)
    assert first and first != second


def test_waiting_for_a_child_has_a_limit(tmp_path):
    child = ask(tmp_path, SLEEPER)
    until((tmp_path / "pids.txt").exists, 60)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.1)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(60) == child.poll() == -signal.SIGKILL


def test_it_ends_with_whoever_started_it_and_takes_no_child_along(tmp_path):
    server = forked_process.start_server(environment_of_recipes())
    until(server.address.exists, 300)
    child = ask(tmp_path, SLEEPER, server.address)
    until((tmp_path / "pids.txt").exists, 60)
    os.close(server.pipe_end)
    assert server.process.wait(60) == 0
    assert child.poll() is None and psutil.pid_exists(child.pid), "that one has a pipe of its own to watch"
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait(60) == -signal.SIGKILL
    assert ask(tmp_path, SLEEPER, server.address) is None, "the next is started anew"


def test_a_worker_has_recipes_forked_while_its_fork_server_lives_and_starts_another_after_it(tmp_path, settings):
    settings.FORK_SERVER = "1"
    local.preload()
    started_as(subprocess.Popen, tmp_path)  # nobody waits for it to load
    until(local._own_server[0].address.exists, 300)
    started_as(ForkedProcess, tmp_path)
    killed = local._own_server[0]
    killed.process.kill()
    killed.process.wait(60)
    started_as(subprocess.Popen, tmp_path)
    assert not killed.address.parent.exists()
    until(local._own_server[0].address.exists, 300)
    started_as(ForkedProcess, tmp_path)


def started_as(kind: type, folder: Path) -> None:
    """Submit a run that is a process of that kind, and stop it."""
    (folder / "pids.txt").unlink(missing_ok=True)
    handle = local.submit(folder, SLEEPER)
    assert isinstance(local._children[handle].process, kind)
    until((folder / "pids.txt").exists, 60)  # it ignores SIGTERM while it starts its child
    local.stop(handle, 60)
    assert local.poll(handle) == -signal.SIGTERM
    local.forget(handle)


def test_a_process_that_nobody_waits_for_has_ended(tmp_path):
    """As in a container whose first process waits for no orphans."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    child = ForkedProcess(orphan.pid, ours)
    theirs.close()
    assert child.poll() is None
    orphan.kill()
    until(lambda: psutil.Process(orphan.pid).status() == psutil.STATUS_ZOMBIE, 60)
    assert child.poll() == -signal.SIGKILL
    orphan.wait()


def test_nobody_elses_socket_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(forked_process, "_owner", lambda connection: os.geteuid() + 1)
    assert ask(tmp_path, SEEN) is None


def test_what_a_recipe_leaves_is_found_by_its_lock(tmp_path):
    """Its environment, as the kernel shows it, is the server's."""
    with recipe_process.lock(tmp_path) as lock, (tmp_path / "log.txt").open("ab") as log:
        recipe = recipe_process.start(
            tmp_path, [sys.executable, "-m", SLEEPER, str(tmp_path)], environment_of_recipes(),
            folder=ROOT, lock=lock, log=log, fork_server=loaded_server(),
        )  # fmt: skip
    until((tmp_path / "pids.txt").exists, 60)
    assert isinstance(recipe.process, ForkedProcess)
    assert recipe_process.works_in(psutil.Process(recipe.process.pid), tmp_path)
    recipe_process.end_leftovers(tmp_path)
    assert recipe.process.wait(60) == -signal.SIGKILL
    recipe_process.let_go(recipe)


def test_a_fork_trains_the_same_weights(tmp_path):
    parent = tiny_model.make(tmp_path / "parent")
    forks, anew = (sharded_runs.lay_sft(tmp_path / name, parent, adapters="full") for name in ("forked", "anew"))
    with (forks.path / "log.txt").open("ab") as log:
        assert forked("training.recipes.sft", str(forks.path), log=log).wait(300) == 0
    command = [sys.executable, "-m", "training.recipes.sft", str(anew.path)]
    subprocess.run(command, cwd=ROOT, env=environment_of_recipes(), check=True, timeout=300)
    assert sharded_runs.largest_difference(forks, anew) == 0


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("text", 1, "No such thing.\n"),
        ("error", 1, "ValueError: on purpose\n"),
        ("nothing", 0, "at the exit\n"),
        ("thread", 0, "of the thread\nat the exit\n"),
        ("pool", 0, "of the thread\nat the exit\n"),
        ("signal", -signal.SIGTERM, ""),
    ],
)
def test_it_ends_as_python_ends(tmp_path, ending, code, said):
    with (tmp_path / "log.txt").open("ab") as log:
        assert forked("tests.support.training.endings", ending, log=log).wait(60) == code
    assert (tmp_path / "log.txt").read_text().endswith(said)
