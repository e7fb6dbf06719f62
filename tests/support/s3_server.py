"""A real S3 server on this machine, moto's, in a process of its own, with one bucket. Started anew, it is empty."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import httpx
from s3fs import S3FileSystem

from tests.support import programs
from tests.support.processes import free_port, until

BUCKET = "assay"
_KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass
class S3Server:
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """What a process needs in its environment to reach it."""
        return {**_KEYS, "AWS_ENDPOINT_URL": self.address, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        with programs.forked():
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._has_bucket, seconds=60)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _has_bucket(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.put(f"{self.address}/{BUCKET}", trust_env=False).status_code == 200
        return False


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Clients that this process has kept go on asking the server of an earlier test: it forgets them first."""
    S3FileSystem.clear_instance_cache()
    server = S3Server(free_port())
    try:
        server.start()
        yield server
    finally:
        server.kill()
