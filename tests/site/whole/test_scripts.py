"""Starting and ending: what the scripts say when something is missing, and what the runner leaves behind (nothing)."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config import runner as config_runner
from tests.support.processes import ROOT, alive, free_port, free_ports, kill_hard, until

TOOLS = ("sh", "dirname", "cksum", "awk", "cat", "mkdir", "df", "rm", "mktemp", "id")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The scripts in a folder without .venv, and a `bin` with the plainest tools and nothing else."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "script", folder / "script")
    for path in ROOT.glob("requirements*"):
        shutil.copy(path, folder)
    (folder / "bin").mkdir()
    for tool in TOOLS:
        (folder / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return folder


def put(folder: Path, name: str, text: str) -> None:
    path = folder / "bin" / name
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def start(folder: Path, script: str = "server") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [folder / "script" / script],
        env={"PATH": str(folder / "bin")},
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("script", ["server", "demo", "test"])
def test_without_a_fitting_python_one_line_says_which_and_how(clone: Path, script: str):
    put(clone, "python3", "exit 1")  # an older Python fails the version check like this
    done = start(clone, script)
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "3.11, 3.12 or 3.13" in done.stderr and "apt install python3" in done.stderr


def test_a_fitting_python_is_found_under_its_own_name(clone: Path):
    put(clone, "python3", "exit 1")
    put(clone, "python3.12", 'case "$2" in *version_info*) exit 0;; *ensurepip*) exit 1;; esac')
    done = start(clone)
    assert "python3.12 has no venv module" in done.stderr and "apt install python3-venv" in done.stderr
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1


def test_an_environment_of_an_old_python_is_not_filled_but_replaced(clone: Path):
    put(clone, "python3", "exit 1")
    old = clone / ".venv" / "bin" / "python"
    old.parent.mkdir(parents=True)
    old.write_text('#!/bin/sh\ncase "$*" in *version_info*) exit 1;; -V) echo Python 3.10.1;; esac\n')
    old.chmod(0o755)
    done = start(clone)
    assert "3.11, 3.12 or 3.13" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_full_disk_is_said_before_anything_is_installed(clone: Path):
    put(clone, "df", "echo header; echo /dev/sda 100 90 10240 99% /")
    done = start(clone)
    assert done.returncode == 1 and not (clone / ".venv").exists()
    assert done.stderr.startswith("The disk is full: 10 MB are free") and len(done.stderr.splitlines()) == 1


def sets_installed(folder: Path, *scripts: str) -> list[str]:
    """Return the files that pip was given while the scripts ran one after the other, each up to its second step."""
    log = folder / "pip"
    log.touch()
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *"pip install"*" -r "*) echo "$*" >>{log};; -V) echo Python 3.12.1;;'
        " *version_info* | *--version) ;; *) exit 1;; esac\n"
    )
    python.chmod(0o755)
    put(folder, "df", "echo header; echo /dev/sda 99999999 0 99999999 0% /")
    for script in scripts:
        start(folder, script)
    return [line.partition(" -r ")[2].removesuffix(" -c requirements.lock") for line in log.read_text().splitlines()]


def test_uv_is_asked_for_what_pip_would_be_asked(clone: Path, monkeypatch):
    put(clone, "uv", f'echo "$UV_INDEX|$UV_FIND_LINKS|$*" >>{clone}/uv')
    put(clone, "python3", "exit 0")
    script = f"cd {clone}; . script/environment; python=.venv/bin/python; install_by_uv -r all -c lock"
    environment = {
        "PATH": str(clone / "bin"),
        "UV": "uv",
        "PIP_EXTRA_INDEX_URL": "https://cpu",
        "PIP_FIND_LINKS": "/wheels",
    }
    assert subprocess.run(["/bin/sh", "-c", script], env=environment).returncode == 0
    asked = "pip install --quiet --python .venv/bin/python -r all -c lock"
    assert (clone / "uv").read_text() == f"https://cpu|/wheels|{asked}\n"
    assert subprocess.run(["/bin/sh", "-c", script], env=environment | {"NO_UV": "1"}).returncode == 1


@pytest.mark.parametrize(
    ("scripts", "sets"),
    [
        (("demo", "server"), ["requirements-web.txt", "requirements.txt"]),
        (("server", "demo", "install"), ["requirements.txt"]),
        (("demo", "test", "demo"), ["requirements-web.txt", "requirements-dev.txt"]),
        (("test", "demo", "test"), ["requirements-dev.txt"]),
    ],
)
def test_only_the_checks_install_what_checks(clone: Path, scripts: tuple[str, ...], sets: list[str]):
    assert sets_installed(clone, *scripts) == sets


def test_what_is_pinned_anew_is_installed_anew(clone: Path):
    assert sets_installed(clone, "test") == ["requirements-dev.txt"]
    (clone / "requirements.lock").write_text("Django==5.2.1\n")
    assert sets_installed(clone, "server", "test")[1:] == ["requirements.txt", "requirements-dev.txt"]


def test_the_scripts_are_plain_sh():
    for script in (ROOT / "script").iterdir():
        subprocess.run(["sh", "-n", script], check=True)


# The runner, with processes that only wait

WAIT = textwrap.dedent(
    """
    import os, pathlib, signal, sys, time
    if "deaf" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
    print("up", flush=True)
    time.sleep(600)
    """
)


class Running:
    """A runner with two waiting processes; `pids(name)` are those that were started so far, oldest first."""

    def __init__(
        self, folder: Path, *command: str, deaf: bool = False, first: tuple[str, ...] = ("web", "worker")
    ) -> None:
        self.folder, self.first = folder, first
        (folder / "wait.py").write_text(WAIT)
        lines = [
            f"{name}: python -m config.watched {folder}/wait.py {folder}/{name} {'deaf' * deaf}"
            for name in ("web", "worker")
        ]
        (folder / "Procfile").write_text("\n".join(lines))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "config.runner", "--procfile", str(folder / "Procfile"), *command],
            cwd=ROOT,
            env={**os.environ, "PORT": str(free_ports()[0])},
            stdin=subprocess.DEVNULL,
            stdout=(folder / "output").open("w"),
            stderr=subprocess.STDOUT,
        )

    def pids(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def all_pids(self) -> list[int]:
        return self.pids("web") + self.pids("worker")

    def started(self) -> None:
        until(lambda: all(self.pids(name) for name in self.first), what="the processes start")

    def output(self) -> str:
        return (self.folder / "output").read_text()


@pytest.fixture
def running(tmp_path: Path) -> Iterator:
    made: list[Running] = []

    def make(*command: str, **options: Any) -> Running:
        made.append(Running(tmp_path, *command, **options))
        made[-1].started()
        return made[-1]

    yield make
    for each in made:
        each.process.kill()
        each.process.wait()
        for pid in filter(alive, each.all_pids()):
            kill_hard(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_ends_everything(running, number):
    runner = running()
    runner.process.send_signal(number)
    assert runner.process.wait(15) == 128 + number
    assert not [pid for pid in runner.all_pids() if alive(pid)]


@pytest.mark.thorough
def test_a_killed_runner_leaves_no_orphan_even_of_the_deaf(running):
    runner = running(deaf=True)
    kill_hard(runner.process.pid)
    until(lambda: not [pid for pid in runner.all_pids() if alive(pid)], what="the processes end after their runner")


def test_a_killed_process_is_started_again_and_the_others_go_on(running):
    runner = running()
    kill_hard(runner.pids("web")[0])
    until(lambda: len(runner.pids("web")) == 2, what="web is started again")
    assert len(runner.pids("worker")) == 1 and alive(runner.pids("worker")[0])
    assert "web ended (killed by SIGKILL); starting it again." in runner.output()


def test_what_dies_over_and_over_is_given_up_with_a_reason(tmp_path: Path, monkeypatch):
    (tmp_path / "Procfile").write_text('web: python -c "raise SystemExit(3)"')
    code = (
        "import sys; from config import runner; runner.LONGEST_PAUSE = 0.05; "
        f"sys.argv = ['runner', '--procfile', '{tmp_path}/Procfile']; runner.main()"
    )
    environment = {**os.environ, "PORT": str(free_ports()[0])}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "web ended 6 times in a row (exit status 3); giving up" in done.stdout


def test_a_command_runs_once_beside_them_and_what_they_say_goes_to_files(running, tmp_path: Path):
    runner = running("--log-folder", str(tmp_path / "logs"), "--", sys.executable, "-c", "print('here I am')")
    until(lambda: "here I am" in runner.output(), what="the command's output on the terminal")
    until(lambda: (tmp_path / "logs" / "web.log").read_text() == "up\n", what="the web log")
    assert "up" not in runner.output() and runner.process.poll() is None


def test_the_number_of_a_command_that_has_ended_is_sent_no_signal(monkeypatch):
    """It may be another's by now."""
    runner, sent = config_runner.Runner(dict(os.environ)), []
    assert runner.run_once("once", [sys.executable, "-c", ""]) == 0
    monkeypatch.setattr(config_runner.os, "killpg", lambda *numbers: sent.append(numbers))
    runner.end_all()
    assert not sent


def test_pages_are_served_while_what_trains_is_installed(running, tmp_path: Path):
    (tmp_path / "install").write_text(f"until [ -e {tmp_path}/go ]; do sleep 0.1; done; echo installed\n")
    command = ("--", sys.executable, "-c", "print('here I am')")
    runner = running("--prepare", str(tmp_path / "install"), *command, first=("web",))
    assert not runner.pids("worker") and "here I am" not in runner.output()
    (tmp_path / "go").touch()
    until(lambda: runner.pids("worker") and "here I am" in runner.output(), what="the worker and the command start")
    assert "installed" in runner.output() and len(runner.pids("web")) == 1


def test_pages_stay_when_what_trains_cannot_be_installed(running, tmp_path: Path):
    (tmp_path / "install").write_text("echo no network; exit 1\n")
    runner = running(
        "--prepare", str(tmp_path / "install"), "--", sys.executable, "-c", "print('here I am')", first=("web",)
    )
    until(lambda: "the pages are still served" in runner.output(), what="it is said")
    assert "no network" in runner.output() and "here I am" not in runner.output()
    assert not runner.pids("worker") and alive(runner.pids("web")[0]) and runner.process.poll() is None


def test_a_full_disk_loses_log_lines_and_stops_nobody(tmp_path: Path):
    (tmp_path / "talk.py").write_text(
        f"for _ in range(3000): print('x' * 100)\nopen({str(tmp_path / 'through')!r}, 'w').close()\n"
        "import time; time.sleep(600)"
    )
    (tmp_path / "Procfile").write_text(f"web: python -m config.watched {tmp_path}/talk.py")
    (tmp_path / "web.log").symlink_to("/dev/full")  # each write to it fails as on a full disk
    arguments = ["--procfile", str(tmp_path / "Procfile"), "--log-folder", str(tmp_path)]
    environment = {**os.environ, "PORT": str(free_ports()[0])}
    command = [sys.executable, "-m", "config.runner", *arguments]
    with (
        Path("/dev/full").open("w") as full,
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=full) as runner,
    ):
        try:
            until(lambda: (tmp_path / "through").exists(), what="the process says all it has to say")
            assert runner.poll() is None
        finally:
            runner.terminate()


def test_a_taken_port_is_said_in_one_line():
    """Each runner waits for a while for the port to become free: both wait at once."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        runners = {
            name: subprocess.Popen(
                [sys.executable, "-m", "config.runner"],
                cwd=ROOT,
                env={**os.environ, "PORT": str(free_port()), name: port},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in ("PORT", "MODEL_SERVER_PORT")
        }
        ended = {name: runner.communicate(timeout=120) for name, runner in runners.items()}
    for name, (out, error) in ended.items():
        assert runners[name].returncode == 1 and out == ""
        assert f"Port {port}" in error and f"{name}=" in error
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize("port", ["eight", "0", "70000"])
def test_a_port_that_is_none_is_said_in_one_line(port: str):
    environment = {**os.environ, "PORT": port}
    done = subprocess.run([sys.executable, "-m", "config.runner"], cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert f"PORT={port} is not a port" in done.stderr.decode()
