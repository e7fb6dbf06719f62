"""Run the Procfile's processes: `python -m config.runner [--log-folder DIR] [--prepare SCRIPT] [-- COMMAND…]`.

The Procfile and the look of its output are honcho's. Supervision is ours, because honcho ends everything when one
process ends, while here a process that dies is started again; and because a runner killed with -9 must leave nothing
behind: every process runs a parent watchdog (training/core/parent_watchdog.py). COMMAND, if given, runs once beside
them on this terminal (watch its parent, too: `python -m config.watched …`); the others' output then goes to files below
DIR. SCRIPT runs first, beside the processes that need nothing of it (NEEDS_NOTHING): it installs what trains.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from honcho.colour import get_colours
from honcho.environ import parse_procfile
from honcho.printer import Message, Printer

from training.core.parent_watchdog import ENVIRONMENT_NAME, GRACE_SECONDS

BASE_DIR = Path(__file__).resolve().parent.parent
NEEDS_NOTHING = ("web", "background")  # of the Procfile: they import nothing that `--prepare` installs
STEADY_SECONDS = 20.0  # a process that lasted this long starts with a clean record
MAX_QUICK_DEATHS = 6
LONGEST_PAUSE = 15.0
PATIENCE = 8.0  # seconds for the processes of a runner that was killed to end
# Between asking the processes to end and ending them: the worker gives its recipes a grace to write their checkpoints,
# and then their runs back to the queue.
END_PATIENCE = GRACE_SECONDS + 8.0


class Runner:
    """Start processes, restart those that die, and end them all together."""

    def __init__(self, environment: dict[str, str], log_folder: Path | None = None) -> None:
        self.stopping = threading.Event()
        self.exit_code = 0
        self._log_folder = log_folder
        self._printer = Printer(sys.stdout, width=10)
        self._colours = get_colours()
        self._running: dict[str, subprocess.Popen] = {}
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        # Only this process holds the write end (it is not inherited), so that its death of any kind closes the pipe.
        self._pipe_end, self._held = os.pipe()
        self._environment = {**environment, ENVIRONMENT_NAME: str(self._pipe_end)}

    def keep_running(self, name: str, command: str) -> None:
        thread = threading.Thread(target=self._supervise, args=(name, command, next(self._colours)), name=name)
        self._threads.append(thread)
        thread.start()

    def run_once(self, name: str, command: list[str]) -> int | None:
        """Run a command on this terminal: its exit status, None when everything was stopped before."""
        process = self._start(name, command, output=None)
        return process.wait() if process else None

    def stop(self, exit_code: int) -> None:
        if not self.stopping.is_set():
            self.exit_code = exit_code
            self.stopping.set()

    def end_all(self) -> None:
        """Ask every process to end, then make it. A process group ends with its leader."""
        self.stopping.set()
        deadline = time.monotonic() + END_PATIENCE
        with self._lock:  # without those that have ended: their numbers may be others' by now
            running = [process for process in self._running.values() if process.poll() is None]
        for process in running:
            _signal_group(process, signal.SIGTERM)
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _supervise(self, name: str, command: str, colour: str) -> None:
        quick_deaths = 0
        while not self.stopping.is_set():
            started = time.monotonic()
            # `exec`: the shell that fills in $PORT becomes the program, so that no shell stands in between.
            process = self._start(name, ["/bin/sh", "-c", f"exec {command}"], output=subprocess.PIPE)
            if process is None:
                return
            assert process.stdout is not None
            with self._output_of(name) as log:
                for line in process.stdout:
                    self._write(name, line, colour, log)
            code = process.wait()
            if self.stopping.is_set():
                return
            quick_deaths = quick_deaths + 1 if time.monotonic() - started < STEADY_SECONDS else 1
            if quick_deaths >= MAX_QUICK_DEATHS:
                hint = f"see {self._log_folder / name}.log" if self._log_folder else "see its output above"
                self.say(f"{name} ended {quick_deaths} times in a row ({_words(code)}); giving up: {hint}.")
                return self.stop(1)
            pause = min(2.0 ** (quick_deaths - 1) - 1, LONGEST_PAUSE)
            self.say(f"{name} ended ({_words(code)}); starting it again" + (f" in {pause:.0f} s." if pause else "."))
            self.stopping.wait(pause)

    def _start(self, name: str, command: list[str], output: int | None) -> subprocess.Popen | None:
        with self._lock:
            if self.stopping.is_set():
                return None
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                env=self._environment,
                cwd=BASE_DIR,
                pass_fds=[self._pipe_end],
                start_new_session=True,  # Ctrl-C reaches the runner alone, which ends the others in order
            )
            self._running[name] = process
            return process

    @contextmanager
    def _output_of(self, name: str) -> Iterator[IO[bytes] | None]:
        if self._log_folder is None:
            yield None
            return
        with (self._log_folder / f"{name}.log").open("ab", buffering=0) as file:
            yield file

    def _write(self, name: str, line: bytes, colour: str | None, log: IO[bytes] | None) -> None:
        if log is not None:
            with suppress(OSError):  # a full disk loses the line; unread, the pipe would fill and stop the process
                log.write(line)
            return
        self._print(name, line, colour)

    def say(self, text: str) -> None:
        self._print("assay", text, None)

    def _print(self, name: str, text: str | bytes, colour: str | None) -> None:
        with self._lock, suppress(OSError):  # as a log's: the output may be a file on a full disk, or nobody's
            self._printer.write(Message("line", text, datetime.now(), name, colour))


def _signal_group(process: subprocess.Popen, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended meanwhile
        os.killpg(process.pid, number)


def _words(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def environment() -> dict[str, str]:
    """Return what the Procfile's commands need, from the environment or by default. Exits with one line on what is
    wrong."""
    values = dict(os.environ)
    values["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{values.get('PATH', os.defpath)}"
    values["PYTHONUNBUFFERED"] = "1"
    values.setdefault("HOST", "127.0.0.1")
    port = _port(values, "PORT", 8000)
    model_port = _port(values, "MODEL_SERVER_PORT", port + 1)
    _require_free(values["HOST"], port, "PORT", "the pages")
    if not values.get("MODEL_SERVER_URL"):
        _require_free("127.0.0.1", model_port, "MODEL_SERVER_PORT", "the model server")
    return values


def _port(values: dict[str, str], name: str, default: int) -> int:
    text = values.setdefault(name, str(default))
    if not text.isdigit() or not 0 < int(text) < 65536:
        sys.exit(f"{name}={text} is not a port: give a number from 1 to 65535, as in {name}={default}.")
    return int(text)


def _require_free(host: str, port: int, name: str, purpose: str) -> None:
    # The processes of a runner that was just killed need a moment to end; started again at once, wait for them.
    deadline = time.monotonic() + PATIENCE
    while not is_free(host, port):
        if time.monotonic() < deadline:
            time.sleep(0.2)
            continue
        sys.exit(f"Port {port} for {purpose} is taken: end what uses it, or choose another: {name}={port + 10}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--procfile", type=Path, default=BASE_DIR / "Procfile")
    parser.add_argument("--log-folder", type=Path, help="write the processes' output there, one file each")
    parser.add_argument("--prepare", help="a script to run before the processes that train, and before COMMAND")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="run once beside the processes, on this terminal")
    arguments = parser.parse_args()
    command = [word for word in arguments.command if word != "--"]
    values = environment()
    procfile = parse_procfile(arguments.procfile.read_text(encoding="utf-8"))
    if values.get("MODEL_SERVER_URL"):
        procfile.processes.pop("models", None)  # somebody else's server answers
    else:
        values["MODEL_SERVER_URL"] = f"http://127.0.0.1:{values['MODEL_SERVER_PORT']}/v1"
    if arguments.log_folder:
        arguments.log_folder.mkdir(parents=True, exist_ok=True)
    runner = Runner(values, arguments.log_folder)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, frame: runner.stop(128 + received))
    later = {}
    for name, line in procfile.processes.items():
        if arguments.prepare and name not in NEEDS_NOTHING:
            later[name] = line
        else:
            runner.keep_running(name, line)
    if command or arguments.prepare:
        work = (runner, arguments.prepare, later, command)
        threading.Thread(target=_prepare_and_run, args=work, name="once", daemon=True).start()
    if not command:
        runner.say(f"Assay is at http://{values['HOST']}:{values['PORT']}/ in a few seconds. Ctrl-C ends it.")
    while not runner.stopping.wait(0.5):
        pass  # short waits let signal handlers run
    runner.end_all()
    sys.exit(runner.exit_code)


def _prepare_and_run(runner: Runner, script: str | None, later: dict[str, str], command: list[str]) -> None:
    """Run the script, then start the processes that wait for it, then run the command. Where the script fails, the
    pages go on without them."""
    code = runner.run_once("prepare", ["/bin/sh", script]) if script else 0
    if code:
        if not runner.stopping.is_set():
            runner.say(f"{script} failed ({_words(code)}), as said above; the pages are still served. Start it again.")
        return
    for name, line in later.items():
        runner.keep_running(name, line)
    if command:
        _once(runner, command)


def _once(runner: Runner, command: list[str]) -> None:
    code = runner.run_once("once", command)
    if code and not runner.stopping.is_set():
        runner.say(f"It stopped ({_words(code)}), as said above; the pages are still served. Start it again to go on.")


if __name__ == "__main__":
    main()
