"""Start the site's own model server, `transformers serve` with shared bases, for a test or a benchmark."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support import programs
from tests.support.processes import asking_client

OURS = ("training.recipes.serve",)
STOCK = ("transformers.cli.transformers", "serve")


@contextmanager
def model_server(
    port: int, log: Path, *options: str, module: Sequence[str] = OURS
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it at http://127.0.0.1:PORT/v1, on the CPU. Raises RuntimeError with its log when it does not start."""
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", *options]
    with log.open("wb") as output:
        with programs.forked():
            process = subprocess.Popen([sys.executable, "-m", *module, *arguments], stdout=output, stderr=output)
        try:
            _await(process, f"http://127.0.0.1:{port}/health", log)
            yield process
        finally:
            process.kill()
            process.wait()


def _await(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(1200):
        try:
            asking_client().get(address).raise_for_status()
            return
        except httpx.HTTPError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
    raise RuntimeError(f"The model server did not start: {log.read_text()[-2000:]}")


def memory_of(process: subprocess.Popen[bytes]) -> int:
    """Return the bytes in memory that a process has, pages of files that it maps counted once (Pss)."""
    for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no Pss in /proc")
