"""A real Ray cluster of two raylets on this machine, small, with a token: started, killed in parts, and ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from tests.support.processes import asking_client, free_port, until

_OBJECTS = 80 * 2**20  # bytes of each raylet's store: the least that Ray takes is 75 MB
_TRIES = 4
_SMALL = {
    "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS": "0",
    "RAY_enable_open_telemetry": "0", "RAY_worker_register_timeout_seconds": "120",
    # A dead node is noticed after two seconds and not fifteen; one that is only slow to answer has as long as ever.
    "RAY_health_check_initial_delay_ms": "1000", "RAY_health_check_period_ms": "400",
    "RAY_prestart_worker_first_driver": "0",
}  # fmt: skip


class RayCluster:
    """The head carries no run; the other node does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gcs_port, self.port = free_port(), free_port()
        self.url, self.token = f"http://127.0.0.1:{self.port}", secrets.token_hex(16)
        self.head: set[int] = set()
        self.node: set[int] = set()

    def start_head(self) -> None:
        self.head = self._started(
            "--head", f"--port={self.gcs_port}", f"--dashboard-port={self.port}", "--dashboard-host=127.0.0.1",
            "--num-cpus=0", f"--temp-dir={self.folder}", "--include-dashboard=true", "--no-monitor", *self._agent(),
        )  # fmt: skip
        until(self._answers, 120, "Ray's dashboard answers")

    def start_node(self, cpus: int = 2, **variables: str) -> None:
        """Start the second node, with such variables of its own."""
        self.node = self._started(
            f"--address=127.0.0.1:{self.gcs_port}", f"--num-cpus={cpus}", *self._agent(), **variables
        )
        until(lambda: len(self.alive_nodes()) == 2, 120, "two nodes are alive")

    def add_node(self, cpus: int, **variables: str) -> set[int]:
        """Start one more node, with such variables of its own; return its processes, for `kill`."""
        count = len(self.alive_nodes()) + 1
        added = self._started(f"--address=127.0.0.1:{self.gcs_port}", f"--num-cpus={cpus}", *self._agent(), **variables)
        until(lambda: len(self.alive_nodes()) == count, 120, "one more node is alive")
        return added

    def kill(self, node: set[int]) -> None:
        """Kill a node that was added, as a whole, and wait until the head knows."""
        count = len(self.alive_nodes()) - 1
        _kill(node)
        until(lambda: len(self.alive_nodes()) == count, 120, "the head has lost a node")

    def kill_head(self) -> None:
        _kill(self.head)

    def kill_raylet(self) -> None:
        """Kill the raylet of the second node alone: what it started is left to itself."""
        _kill({pid for pid in self.node if _name(pid) == "raylet"})

    def kill_node(self) -> None:
        """Kill the second node as a whole, and wait until the head knows."""
        _kill(self.node)
        until(lambda: len(self.alive_nodes()) == 1, 120, "the head has lost its node")

    def alive_nodes(self) -> list[dict]:
        answer = asking_client().get(f"{self.url}/api/v0/nodes", headers=self._headers)
        rows = answer.json()["data"]["result"]["result"]
        return [row for row in rows if row["state"] == "ALIVE"]

    def end(self) -> None:
        _kill(self.head | self.node | self._processes())

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    @property
    def _environment(self) -> dict[str, str]:
        foreign = ("RAY_", "DJANGO_", "DATABASE_URL", "ASSAY_DATA")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {**inherited, **_SMALL, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def _agent(self) -> list[str]:
        return [f"--dashboard-agent-listen-port={free_port()}", f"--object-store-memory={_OBJECTS}",
            "--min-worker-port=0", "--max-worker-port=0", "--disable-usage-stats",
            "--include-log-monitor=false"]  # fmt: skip

    def _started(self, *options: str, **variables: str) -> set[int]:
        """Run `ray start`; return the processes that it left. Ray gives up after 30 s, which a busy machine may need
        more than once."""
        before = self._processes()
        for _ in range(_TRIES):
            done = subprocess.run(
                [str(Path(sys.executable).parent / "ray"), "start", *options],
                env=self._environment | variables,
                capture_output=True,
                text=True,
                timeout=180,
            )
            if done.returncode == 0:
                return self._processes() - before
            _kill(self._processes() - before)
        raise AssertionError(f"{done.stdout}\n{done.stderr}")

    def _processes(self) -> set[int]:
        """Return all processes of this cluster, by the folder that their command lines or variables name."""
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if any(str(self.folder) in part for part in process.cmdline()) or self._is_ours(process.environ()):
                    found.add(process.pid)
        return found

    def _is_ours(self, variables: Mapping[str, str]) -> bool:
        """Return whether a process descends from one of Ray's: who only asks the cluster has the token, too."""
        return all(variables.get(name) == value for name, value in {**_SMALL, "RAY_AUTH_TOKEN": self.token}.items())

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError, KeyError, ValueError):
            return len(self.alive_nodes()) >= 1
        return False


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return ""


def _kill(pids: set[int]) -> None:
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            process.kill()
            processes.append(process)
    psutil.wait_procs(processes, timeout=10)


@contextmanager
def ray_cluster(*, has_node: bool = True) -> Iterator[RayCluster]:
    """Yield a cluster of two nodes, or of the head alone; all of it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # short: sockets lie in it
    cluster = RayCluster(folder)
    try:
        cluster.start_head()
        if has_node:
            cluster.start_node()
        yield cluster
    finally:
        cluster.end()
        shutil.rmtree(folder, ignore_errors=True)
