"""An installation on several hosts, all of them on this machine: Postgres, Redis, S3, two web processes, two workers, a
background worker and a Ray cluster of two raylets. Each process has an ASSAY_DATA of its own, and nothing is shared but
the servers. Any part can be killed and started anew."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from tests.support import tiny_model
from tests.support.cut_wire import Wire
from tests.support.processes import FOREIGN, ROOT, free_port, until
from tests.support.s3_server import BUCKET, S3Server, s3_server
from tests.support.servers import postgres, redis_server
from tests.support.training.ray_cluster import RayCluster, ray_cluster
from training.core import step_ledger

WEBS, WORKERS = ("web-1", "web-2"), ("worker-1", "worker-2")
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
class ClusterSite:
    """`data` holds a folder for each process, with its log beside; `ledger` is what recipes append to."""

    data: Path
    variables: dict[str, str]
    cluster: RayCluster
    storage: Storage
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in WEBS})
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    nodes: int = 0

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
        """Start a web process, a worker or the background worker; its output goes to a log."""
        if name in WEBS:
            line = ["-m", "uvicorn", "config.asgi:application", "--port", str(self.ports[name]), "--no-proxy-headers"]
            line += ["--timeout-graceful-shutdown", "3", "--log-level", "warning"]
        elif name in WORKERS:
            line = ["manage.py", "run_worker", "--name", name, "--concurrency", "2"]
        else:
            line = ["manage.py", "run_background_worker"]
        with (self.data / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *line], cwd=ROOT, env=self.environment(name), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def kill(self, name: str) -> None:
        process = self.processes[name]
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def start_node(self) -> None:
        """Start the second raylet, each time as a host that has nothing."""
        self.nodes += 1
        folder = self.data / f"node-{self.nodes}"
        foreign = {step_ledger.VARIABLE: str(self.ledger), "HF_HUB_OFFLINE": "1"}
        self.cluster.start_node(ASSAY_DATA=str(folder), **self.storage.variables, **foreign)

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


@contextmanager
def cluster_site(*, lease_seconds: float = LEASE_SECONDS) -> Iterator[ClusterSite]:
    """Yield the whole, serving; all of it ends with the block, and its folder with it."""
    data = Path(tempfile.mkdtemp(prefix="assay-cluster-"))
    try:
        with ExitStack() as servers:
            (data / "redis").mkdir()
            database = servers.enter_context(postgres(data / "postgres", durable=True))
            redis = servers.enter_context(redis_server(data / "redis"))
            storage = Storage(servers.enter_context(s3_server()))
            servers.callback(storage.take_away)
            cluster = servers.enter_context(ray_cluster(has_node=False))
            site = ClusterSite(
                data, _variables(data, database, redis, storage, cluster, lease_seconds), cluster, storage
            )
            servers.callback(site.end)
            site.start_node()
            site.manage("migrate", "--verbosity", "0")
            site.manage("collectstatic", "--noinput", "--verbosity", "0")
            shutil.copytree(data / WEBS[0] / "static", data / WEBS[1] / "static", dirs_exist_ok=True)
            tiny_model.make_elsewhere(data / "tiny", seed=3)
            for name in (*WEBS, *WORKERS, "background"):
                site.start(name)
            site.wait_until_served()
            yield site
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _variables(
    data: Path, database: str, redis: str, storage: Storage, cluster: RayCluster, lease_seconds: float
) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in (*FOREIGN, "ASSAY_DATA")}
    return {
        **inherited,
        **storage.variables,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": database,
        "REDIS_URL": redis,
        "SECRET_KEY": "of a cluster that lives for an hour on one machine",
        "DEBUG": "0",
        "ASSAY_STORAGE": f"s3://{BUCKET}/assay",
        "RAY_ADDRESS": cluster.url,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": cluster.token,
        "RAY_MEMORY_FACTOR": "0",
        "RAY_NODE_WAIT_SECONDS": "600",
        "RUN_LEASE_SECONDS": str(lease_seconds),
        "ASSAY_RECIPE_ENVIRONMENT": step_ledger.VARIABLE,
        step_ledger.VARIABLE: str(data / "steps.jsonl"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }


def _answers(url: str) -> bool:
    with suppress(OSError):
        return urllib.request.urlopen(f"{url}/api/v1/projects/", timeout=5).status == 200
    return False
