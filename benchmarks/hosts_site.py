"""Processes of an installation on several hosts, all of them on this machine: each has an ASSAY_DATA of its own, and
nothing is shared but the servers. Any of them can be killed and started anew. A part of `cluster_faults` and
`service_faults`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks.database import make_static, make_tables
from tests.support import tiny_model
from tests.support.cut_wire import Wire
from tests.support.processes import FOREIGN, ROOT, free_port, until
from tests.support.s3_server import BUCKET, S3Server
from training.core import step_ledger
from training.runs.launchers.recipe_process import open_files

WEBS, WORKERS, MODELS, BACKGROUND = ("web-1", "web-2"), ("worker-1", "worker-2"), ("model-1", "model-2"), "background"
LEASE_SECONDS = 10.0


class Storage:
    """The way to the S3 server, which can be gone: what is stored stays."""

    def __init__(self, server: S3Server) -> None:
        self._server = server
        self._wire: Wire | None = Wire(("127.0.0.1", server.port))
        self.port = self._wire.port
        self.variables = server.variables | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def take_away(self) -> None:
        """Refuse whoever asks, and break off what is under way."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def bring_back(self) -> None:
        self._wire = self._wire or Wire(("127.0.0.1", self._server.port), self.port)


@dataclass
class HostsSite:
    """`data` holds a folder for each process, with its log beside; `ledger` is what recipes append to."""

    data: Path
    variables: dict[str, str]
    storage: Storage
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in (*WEBS, *MODELS)})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{self.ports[name]}" for name in WEBS]

    @property
    def ledger(self) -> Path:
        return self.data / "steps.jsonl"

    def environment(self, name: str) -> dict[str, str]:
        """Return the variables of one process, with a data folder of its own."""
        folder = self.data / name
        folder.mkdir(parents=True, exist_ok=True)
        return self.variables | {"ASSAY_DATA": str(folder)}

    def start(self, name: str) -> None:
        """Start a web process, a worker, a model server or the background worker; its output goes to a log."""
        with (self.data / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *self._words_of(name)], cwd=ROOT, env=self.environment(name),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _words_of(self, name: str) -> list[str]:
        if name in WEBS:
            line = ["-m", "uvicorn", "config.asgi:application", "--port", str(self.ports[name]), "--no-proxy-headers"]
            return [*line, "--timeout-graceful-shutdown", "3", "--log-level", "warning"]
        if name in MODELS:
            return ["-m", "training.recipes.serve", "--host", "127.0.0.1", "--port", str(self.ports[name])]
        if name in WORKERS:
            return ["manage.py", "run_worker", "--name", name, "--concurrency", "2"]
        return ["manage.py", "run_background_worker"]

    def kill(self, name: str) -> None:
        process = self.processes[name]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def manage(self, *words: str, name: str = WEBS[0]) -> str:
        """Run a command of manage.py as on that host; return what it prints. Raises CalledProcessError."""
        line = [sys.executable, "manage.py", *words]
        return subprocess.run(
            line, cwd=ROOT, env=self.environment(name), check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def ask(self, code: str) -> str:
        """Return what some lines of Python print that look into the database."""
        return self.manage("shell", "--no-imports", "-c", textwrap.dedent(code))

    def query(self, sql: str, *values: str) -> list[tuple]:
        """Return what the database says, beside all that serves it."""
        with psycopg.connect(self.variables["DATABASE_URL"]) as connection:
            return connection.execute(sql, values).fetchall()

    def set_up(self, *names: str) -> None:
        """Make tables and static files, lay a tiny model, start these processes, and wait until both webs serve."""
        make_tables(self.environment(WEBS[0]))
        make_static(self.environment(WEBS[0]))
        shutil.copytree(self.data / WEBS[0] / "static", self.data / WEBS[1] / "static", dirs_exist_ok=True)
        tiny_model.make_elsewhere(self.data / "tiny", seed=3)
        for name in names:
            self.start(name)
        self.wait_until_served()

    def wait_until_served(self) -> None:
        for url in self.urls:
            until(lambda url=url: _answers(url), 180, f"{url} answers; see {self.data}/web-*.log")

    def end(self) -> None:
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for name in self.processes:
            self.kill(name)


def shared_variables(data: Path, database: str, redis: str, storage: Storage) -> dict[str, str]:
    """Return what every process of such a site is given: the servers, short leases, and the ledger of steps."""
    inherited = {name: value for name, value in os.environ.items() if name not in (*FOREIGN, "ASSAY_DATA")}
    return {
        **inherited,
        **storage.variables,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "SECRET_KEY": "of a site that lives for an hour on one machine",
        "DEBUG": "0",
        "ASSAY_STORAGE": f"s3://{BUCKET}/assay",
        "RUN_LEASE_SECONDS": str(LEASE_SECONDS),
        "ASSAY_RECIPE_ENVIRONMENT": step_ledger.VARIABLE,
        step_ledger.VARIABLE: str(data / "steps.jsonl"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def recipes_at_work(data: Path) -> Iterator[tuple[int, psutil.Process]]:
    """Yield each process of a recipe of the site in that folder with its run, but for those that have written their
    result: a kill would cost nothing. Another site on this machine may have runs of the same numbers."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError, KeyError):
            folder = _run_of(process)
            number = folder.name.partition("-")[0]
            if number.isdecimal() and folder.is_relative_to(data) and not (folder / "result.json").exists():
                yield int(number), process


def _run_of(process: psutil.Process) -> Path:
    """Return the run directory whose lock a process holds, or that its environment names: that of a fork is its
    server's. Raises KeyError for a process of no run."""
    locks = [path.parent for path in map(Path, open_files(process.pid)) if path.name == "lock"]
    return locks[0] if locks else Path(process.environ()["ASSAY_RUN_DIRECTORY"])


def _answers(url: str) -> bool:
    with suppress(OSError):
        return urllib.request.urlopen(f"{url}/api/v1/projects/", timeout=5).status == 200
    return False
