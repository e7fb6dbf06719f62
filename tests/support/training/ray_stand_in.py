"""A strict stand-in of a Ray dashboard: it takes and refuses what Ray does, and can really start the jobs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from tests.support.processes import until
from tests.support.stub_server import JsonHandler, serve

FIELDS = {
    *("entrypoint", "submission_id", "runtime_env", "metadata"),
    *("entrypoint_num_cpus", "entrypoint_num_gpus", "entrypoint_memory", "entrypoint_resources"),
}
NODE = {
    "node_id": "4f3a0b1c2d", "node_ip": "10.0.0.7", "state": "ALIVE", "is_head_node": False,
    "resources_total": {"CPU": 8.0, "memory": 16e9, "node:10.0.0.7": 1.0},
}  # fmt: skip


@dataclass
class Trouble:
    """What answers in place of Ray."""

    status: int = 0  # with this text
    text: str = ""
    seconds: float = 0  # of silence
    after: bool = False  # Ray does what it is asked before; its answer is lost


@dataclass
class Dashboard:
    url: str = ""
    token: str = ""
    starts_jobs: bool = False
    nodes: list[dict[str, Any]] = field(default_factory=lambda: [NODE])
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    trouble: Trouble | None = None

    def submit(self, body: dict[str, Any]) -> tuple[int, str | dict[str, Any]]:
        if unknown := body.keys() - FIELDS:
            return (
                400,
                f"Traceback …\nTypeError: __init__() got an unexpected keyword argument {sorted(unknown)[0]!r}\n",
            )
        metadata = body.get("metadata", {})
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            return 400, "Traceback …\nTypeError: metadata values must be strings\n"
        name = body["submission_id"]
        if name in self.jobs:
            return 500, f"Traceback …\nRuntimeError: … ValueError: Job with submission_id {name} already exists.\n"
        self.jobs[name] = {**body, "status": "PENDING", "message": "Job has not started yet.", "driver_exit_code": None}
        if self.starts_jobs:
            self.start(name)
        return 200, {"job_id": name, "submission_id": name}

    def start(self, name: str) -> None:
        job = self.jobs[name]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self.processes[name] = subprocess.Popen(
            job["entrypoint"], shell=True, start_new_session=True, stdout=subprocess.DEVNULL, env=environment
        )
        job |= {"status": "RUNNING", "driver_node_id": "4f3a0b1c2d"}

    def look(self, name: str) -> None:
        """Note how a job's process ended, as Ray's supervisor does."""
        job, process = self.jobs[name], self.processes.get(name)
        if job["status"] != "RUNNING" or process is None or (code := process.poll()) is None:
            return
        job |= {"status": "SUCCEEDED" if code == 0 else "FAILED", "driver_exit_code": code}
        if code:
            job |= {"error_type": "JOB_ENTRYPOINT_COMMAND_ERROR", "message": f"failed with exit code {code}"}

    def stop(self, name: str) -> None:
        job, process = self.jobs[name], self.processes.get(name)
        if job["status"] == "RUNNING" and process is not None:
            self.kill(name, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(3)
            self.kill(name)
            job["status"] = "STOPPED"

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.processes[name].pid, number)

    def kill_everything(self) -> None:
        for name in self.processes:
            self.kill(name)


def _handler(ray: Dashboard) -> type[JsonHandler]:
    class Handler(JsonHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def _answer(self, method: str) -> None:
            body = self.read_json() if int(self.headers.get("Content-Length") or 0) else None
            path = urlsplit(self.path).path.removeprefix("/v1")
            ray.asked.append(f"{method} {path}")
            trouble = ray.trouble
            if trouble is None or trouble.after:
                status, answer = self._answer_of(method, path, body)
            if trouble is not None:
                time.sleep(trouble.seconds)
                status, answer = trouble.status, trouble.text
            self._send(status, answer)

        def _answer_of(self, method: str, path: str, body: Any) -> tuple[int, Any]:
            if ray.token and self.headers.get("Authorization") != f"Bearer {ray.token}":
                return 401, "Unauthorized: Missing authentication token"
            match [method, *path.strip("/").split("/")]:
                case ["GET", "api", "version"]:
                    return 200, {"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "s"}
                case ["POST", "api", "jobs"] if path.endswith("/"):
                    return ray.submit(body)
                case ["GET", "api", "v0", "nodes"]:
                    return 200, {"result": True, "msg": "", "data": {"result": {"result": ray.nodes}}}
                case ["GET", "api", "jobs", name] if name in ray.jobs:
                    ray.look(name)
                    return 200, {"type": "SUBMISSION", "submission_id": name, **ray.jobs[name]}
                case ["POST", "api", "jobs", name, "stop"] if name in ray.jobs:
                    ray.stop(name)
                    return 200, {"stopped": True}
                case [_, "api", "jobs", name, *_]:
                    return 404, f"Job {name} does not exist"
            return 404, "404: Not Found"

        def _send(self, status: int, answer: Any) -> None:
            if not isinstance(answer, str):
                self.send_json(status, answer)
                return
            data = answer.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


@contextmanager
def dashboard(**options: Any) -> Iterator[Dashboard]:
    """Yield a dashboard that answers at its `url`; its jobs end with it."""
    ray = Dashboard(**options)
    with serve(_handler(ray)) as url:
        ray.url = url  # with a path, as behind a proxy
        try:
            yield ray
        finally:
            ray.kill_everything()


def wait_for_the_end_of_recipes(folder: Path) -> None:
    """Wait until no process works in a run directory below this folder."""
    until(lambda: not any(_works_below(process, folder) for process in psutil.process_iter()), 30, "no recipe is left")


def _works_below(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get("ASSAY_RUN_DIRECTORY", "").startswith(str(folder))
    except (psutil.Error, OSError):
        return False
