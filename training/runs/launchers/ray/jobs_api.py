"""Ask a Ray cluster by its Jobs REST API. Nothing here imports ray: workers need no Ray of the cluster's version."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

from annotate.core.network import outbound

PENDING, RUNNING, STOPPED, SUCCEEDED, FAILED = "PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"
ENDED = (STOPPED, SUCCEEDED, FAILED)
_TIMEOUT = httpx.Timeout(5.0, connect=2.0)
_WHOLE_SECONDS = 10.0  # for one answer, however it drips
_REST_SECONDS = 3.0  # after a failure nothing is asked: the worker's one loop must not wait for each of its runs
_WORDS = 300  # of an error's text that are kept


class Unreachable(Exception):
    """Raised when the cluster does not answer, or not as Ray does. The words are fit for a run's page."""


class BadRequest(Exception):
    """Raised when Ray refuses what was submitted; asking again would change nothing."""


@dataclass(frozen=True)
class Job:
    """What Ray says of a job. `exit_code` is there when Ray saw the process end."""

    status: str
    message: str = ""
    error_type: str = ""
    node_id: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class ClusterNode:
    """A node that is alive, and all that it has to give."""

    node_id: str
    address: str
    cpus: float
    gpus: float
    memory_bytes: float
    resources: dict[str, float]


class JobsApi:
    """One cluster. Safe to use from several threads."""

    def __init__(self, address: str, token: str = "") -> None:
        self.address = address.rstrip("/")
        self._token = token
        self._client = outbound.client(
            f"{self.address}/", allowed=(outbound.host_and_port(self.address),), timeout=_TIMEOUT, key=token
        )
        self._guard = threading.Lock()
        self._rests_until, self._failure = 0.0, ""

    def submit(self, body: dict[str, Any]) -> None:
        """Submit a job under its `submission_id`; once more is once. Raises Unreachable or BadRequest."""
        self._require_awake()
        try:
            status, text = self._ask("POST", "api/jobs/", body)
            if status == 200:
                return
            failure: Exception = BadRequest(_last_line(text)) if status == 400 else self._failed(status, text)
        except Unreachable as error:
            failure = error
        self._wake()
        if self.job(body["submission_id"]) is None:  # else Ray has taken it, now or before, and the answer was lost
            raise failure

    def job(self, submission_id: str) -> Job | None:
        """Return a job; None where the cluster knows none of that name. Raises Unreachable."""
        status, text = self._ask("GET", f"api/jobs/{submission_id}")
        if status == 404 and "does not exist" in text:
            return None
        row = self._object(status, text)
        if row.get("status") not in (PENDING, RUNNING, *ENDED):
            raise self._strange()
        code = row.get("driver_exit_code")
        words = {name: str(row.get(name) or "") for name in ("message", "error_type")}
        node = str(row.get("driver_node_id") or "")
        return Job(row["status"], **words, node_id=node, exit_code=code if isinstance(code, int) else None)

    def stop(self, submission_id: str) -> None:
        """Have Ray end a job; one that it does not know is no error. Raises Unreachable."""
        status, text = self._ask("POST", f"api/jobs/{submission_id}/stop")
        if status not in (200, 404):
            raise self._failed(status, text)

    def nodes(self) -> list[ClusterNode]:
        """Return the nodes that are alive. Raises Unreachable."""
        row = self._object(*self._ask("GET", "api/v0/nodes?limit=10000"))
        try:
            rows = row["data"]["result"]["result"]
            return [_node(one) for one in rows if one["state"] == "ALIVE"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._strange() from None

    def version(self) -> str:
        """Return the cluster's version of Ray. Raises Unreachable."""
        return str(self._object(*self._ask("GET", "api/version")).get("ray_version", ""))

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        self._require_awake()
        try:
            until = time.monotonic() + _WHOLE_SECONDS
            with self._client.stream(method, path, json=body) as response:
                status, text = response.status_code, outbound.body_of(response, until=until).decode("utf-8", "replace")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            slow = isinstance(error, httpx.TimeoutException)
            raise self._rest(f"the Ray cluster {'answers too slowly' if slow else 'does not answer'}") from error
        if status in (401, 403):
            raise self._rest("the Ray cluster refuses this worker's RAY_AUTH_TOKEN")
        return status, text

    def _object(self, status: int, text: str) -> dict[str, Any]:
        if status != 200:
            raise self._failed(status, text)
        try:
            row = json.loads(text)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise self._strange()
        return row

    def _failed(self, status: int, text: str) -> Unreachable:
        return self._rest(f"the Ray cluster answers {status}: {_last_line(text)}".removesuffix(": "))

    def _strange(self) -> Unreachable:
        return self._rest("what answers at RAY_ADDRESS is no Ray dashboard")

    def _rest(self, words: str) -> Unreachable:
        """Ask nothing for a moment; return what to raise until then."""
        with self._guard:
            self._rests_until, self._failure = time.monotonic() + _REST_SECONDS, words
        return Unreachable(words)

    def _require_awake(self) -> None:
        with self._guard:
            if time.monotonic() < self._rests_until:
                raise Unreachable(self._failure)

    def _wake(self) -> None:
        with self._guard:
            self._rests_until = 0.0


def _node(row: dict[str, Any]) -> ClusterNode:
    resources = {str(name): float(value) for name, value in (row.get("resources_total") or {}).items()}
    return ClusterNode(
        node_id=str(row["node_id"]),
        address=str(row.get("node_ip") or ""),
        cpus=resources.get("CPU", 0.0),
        gpus=resources.get("GPU", 0.0),
        memory_bytes=resources.get("memory", 0.0),
        resources=resources,
    )


def _last_line(text: str) -> str:
    """Return the last line of a traceback, which says what is wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_WORDS] if lines else ""
