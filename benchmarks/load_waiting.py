"""Judging while others wait: what 200 judges notice of a model server that hangs, 200 waiting visitors and 500 sockets.

    python benchmarks/load_waiting.py                                      SQLite, then Postgres
    python benchmarks/load_waiting.py --judges 20 --visitors 20 --sockets 50 --seconds 15 --prompts 400
    python benchmarks/load_waiting.py --think 5                            as people do; else 200 ask all the time

Each database is measured three times on the same rows: judging alone, while all the others come at once, and beside
them once /metrics tells that all of them wait. Visitors start battles by the API and wait for answers that never come,
each from an address of their own; sockets look on at battles of pages. Printed are the waits of judging in each, their
ratio at p95 (beside to alone), all errors, and the longest that a transaction kept SQLite's writers waiting, where the
log tells of any (`annotate/core/db/sqlite` logs those above 100 ms).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.database import make_static, make_tables  # noqa: E402
from benchmarks.load import FILL, PROMPTS, SLUG, person, web  # noqa: E402
from benchmarks.load_client import Connection, Tally, percentiles  # noqa: E402
from tests.support.servers import postgres  # noqa: E402

ARENA = f"""
import django
django.setup()
from annotate.models import Contestant, LanguageModel, Project
Project.objects.filter(slug="{SLUG}").update(is_public=True)
project = Project.objects.get(slug="{SLUG}")
for model in LanguageModel.objects.all()[:2]:
    model.folder = f"models/{{model.pk}}"
    model.save()
    Contestant.objects.create(project=project, model=model)
"""
CLOSE, PING, PONG = 8, 9, 10  # kinds of frames
SOCKETS_OF_ONE = 5  # of each browser
SETTLED = re.compile(rb"^assay_(requests_waiting_for_models|websockets) (\S+)", re.MULTILINE)
LONGEST_ARRIVAL = 60.0  # seconds; a visitor waits for 100 and would then ask again
HELD = re.compile(r"held the write lock for (\d+) ms")  # as annotate/core/db/sqlite/lock_holds.py logs it


@contextmanager
def hung_server() -> Iterator[str]:
    """A model server that takes every connection and never says a word."""
    ready, port = threading.Event(), 0

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(65_536):
                pass

    async def serve() -> None:
        nonlocal port
        server = await asyncio.start_server(silent, "127.0.0.1", 0, backlog=2000)
        port = server.sockets[0].getsockname()[1]
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    yield f"http://127.0.0.1:{port}/v1"


def address(n: int) -> str:
    return f"10.{n // 65_536}.{n // 256 % 256}.{n % 256}"


async def visitor(port: int, n: int, until: float, seen: Counter[str]) -> None:
    """Waits for a battle, again and again."""
    connection = Connection("127.0.0.1", port, {"X-Forwarded-For": address(n), "Visitor": f"visitor-{n:032d}"})
    while time.monotonic() < until:
        body = {
            "project": SLUG,
            "text": f"Question {n} at {time.monotonic()}",
            "wait": max(until - time.monotonic(), 1),
        }
        body["wait"] = min(body["wait"], 100)
        status, _ = await connection.ask("POST", "/api/v1/battles/", body)
        seen[f"{status} for a battle"] += 1
        if status != 201:
            await asyncio.sleep(5)
    connection.close()


async def browser(port: int, n: int, sockets: int, until: float, seen: Counter[str]) -> None:
    """Starts a battle on the page and looks on from several tabs."""
    connection = Connection("127.0.0.1", port, {"X-Forwarded-For": address(10_000 + n)})
    page = f"/p/{SLUG}/arena/"
    await connection.ask("GET", page)
    cookies = _cookies(connection)
    token = cookies["csrftoken"]
    form = f"csrfmiddlewaretoken={token}&text=Question+{n}"
    status, _ = await connection.ask("POST", page, form, f"Cookie: csrftoken={token}\r\n", form=True)
    seen[f"{status} for a battle's page"] += 1
    session, location = _cookies(connection).get("sessionid", ""), connection.location
    connection.close()
    battle = location.rstrip("/").rpartition("/")[2]
    await asyncio.gather(*(_socket(port, n, battle, session, until, seen) for _ in range(sockets)))


async def _socket(port: int, n: int, battle: str, session: str, until: float, seen: Counter[str]) -> None:
    """Read what comes, and answer pings as a browser does, until the time is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    key = base64.b64encode(os.urandom(16)).decode()
    head = (
        f"GET /ws/arena/{battle}/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
        f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Cookie: sessionid={session}\r\nX-Forwarded-For: {address(10_000 + n)}\r\n\r\n"
    )
    writer.write(head.encode())
    status = (await reader.readline()).split()[1].decode()
    seen[f"{status} for a socket"] += 1
    try:
        async with asyncio.timeout(max(until - time.monotonic(), 0)):
            while await reader.readline() not in (b"\r\n", b""):
                pass
            await answer_pings(reader, writer)
            seen["sockets closed by the server"] += 1
    except TimeoutError:
        pass
    except (OSError, asyncio.IncompleteReadError):
        seen["sockets cut off by the server"] += 1
    writer.close()


async def answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read frames (RFC 6455, section 5.2) until one that closes; the server ends a connection that leaves a ping
    unanswered. Raises IncompleteReadError where the connection ends without such a frame."""
    while True:
        kind, length = await reader.readexactly(2)  # a server's frames have no mask
        if length >= 126:
            length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
        content = await reader.readexactly(length)
        if kind & 15 == CLOSE:
            return
        if kind & 15 == PING:
            # A client's frames are masked; with a mask of zeros the content stays what it is.
            writer.write(bytes((128 | PONG, 128 | length)) + bytes(4) + content)


def _cookies(connection: Connection) -> dict[str, str]:
    pairs = (line.split(b":", 1)[1].split(b";")[0].strip().decode() for line in connection.cookies)
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


async def judge(port: int, keys: list[str], until: float, think: float = 0.0) -> Tally:
    tally = Tally()
    people = [Connection("127.0.0.1", port, {"Authorization": f"Token {key}"}) for key in keys]
    await asyncio.gather(*(person(one, tally, until, think) for one in people))
    return tally


@dataclass(frozen=True)
class Crowd:
    visitors: int
    sockets: int

    @property
    def coming_seconds(self) -> float:
        """Return for how long judging is measured while they come."""
        return 1 + (self.visitors + self.sockets) / 40


async def who_wait(port: int) -> Crowd:
    """Return how many visitors and sockets wait now, as the web processes count them."""
    connection = Connection("127.0.0.1", port, {})
    _, text = await connection.ask("GET", "/metrics")
    connection.close()
    counts = {name: int(float(value)) for name, value in SETTLED.findall(text)}
    return Crowd(counts.get(b"requests_waiting_for_models", 0), counts.get(b"websockets", 0))


async def until_all_wait(port: int, crowd: Crowd, deadline: float) -> float:
    """Return the time at which all of them wait. Raises RuntimeError where they do not by `deadline`, as
    time.monotonic() tells it."""
    while (now := await who_wait(port)) != crowd:
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{now.visitors} visitors and {now.sockets} sockets wait, not {crowd.visitors} and {crowd.sockets}: "
                "name fewer by --visitors and --sockets, or measure on a machine that is less busy."
            )
        await asyncio.sleep(1)
    return time.monotonic()


async def with_crowd(
    port: int, keys: list[str], crowd: Crowd, seconds: float, think: float
) -> tuple[Tally, Tally, Counter[str]]:
    """Judge while everybody else comes, and again once all of them wait; they leave after it."""
    seen: Counter[str] = Counter()
    began = time.monotonic()
    until = began + LONGEST_ARRIVAL + crowd.coming_seconds + seconds + 60
    others = [asyncio.create_task(visitor(port, n, until, seen)) for n in range(crowd.visitors)]
    browsers = range(crowd.sockets // SOCKETS_OF_ONE)
    others += [asyncio.create_task(browser(port, n, SOCKETS_OF_ONE, until, seen)) for n in browsers]
    settled = asyncio.create_task(until_all_wait(port, crowd, began + crowd.coming_seconds + LONGEST_ARRIVAL))
    coming = await judge(port, keys, began + crowd.coming_seconds, think)
    seen["seconds until all waited"] = round(await settled - began)
    together = await judge(port, keys, time.monotonic() + seconds, think)
    for task in others:
        task.cancel()
    for result in await asyncio.gather(*others, return_exceptions=True):
        if isinstance(result, Exception):
            seen[repr(result)[:80]] += 1
    return coming, together, seen


def ratio_of_p95(together: Tally, alone: Tally) -> float | None:
    """Return how many times as long the slowest twentieth of judgements took beside others; None if nobody judged."""
    if not together.judged or not alone.judged:
        return None
    return round(percentiles(together.judged)["p95"] / percentiles(alone.judged)["p95"], 2)


def measure(folder: Path, database_url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    environment = {**os.environ, "ASSAY_DATA": str(folder), "DEBUG": "0", "SECRET_KEY": "load", "LOG_LEVEL": "WARNING"}
    environment |= {"DJANGO_SETTINGS_MODULE": "config.settings", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment |= {"TRUSTED_PROXIES": "127.0.0.1", "ALLOWED_HOSTS": "127.0.0.1"}
    environment.pop("DATABASE_URL", None)
    if database_url:
        environment["DATABASE_URL"] = database_url
    options: dict[str, Any] = {"cwd": ROOT, "env": environment, "check": True}
    make_tables(environment)
    make_static(environment)
    fill = [sys.executable, "-c", FILL, str(arguments.judges), str(arguments.prompts)]
    filled = subprocess.run(fill, stdout=subprocess.PIPE, **options)
    subprocess.run([sys.executable, "-c", ARENA], **options)
    keys = json.loads(filled.stdout.splitlines()[-1])
    log = folder / "web.log"
    with hung_server() as url, log.open("wb") as errors:
        environment["MODEL_SERVER_URL"] = url
        with web(environment, arguments.workers, errors=errors) as port:
            asyncio.run(
                judge(port, keys[:20], time.monotonic() + min(3, arguments.seconds))
            )  # imports and caches are not what is measured
            alone = asyncio.run(judge(port, keys, time.monotonic() + arguments.seconds, arguments.think))
            crowd = Crowd(arguments.visitors, arguments.sockets // SOCKETS_OF_ONE * SOCKETS_OF_ONE)
            coming, together, seen = asyncio.run(with_crowd(port, keys, crowd, arguments.seconds, arguments.think))
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return {
        "alone": alone.figures(arguments.seconds),
        "while_they_come": coming.figures(crowd.coming_seconds),
        "beside": together.figures(arguments.seconds),
        "p95_ratio": ratio_of_p95(together, alone),
        "others": dict(seen),
        "logged": Counter(re.sub(r"[\d.]+", "#", line)[:160] for line in lines).most_common(8),
        "longest_hold_ms": max((float(found) for found in HELD.findall("\n".join(lines))), default="none above 100 ms"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judges", type=int, default=200)
    parser.add_argument("--visitors", type=int, default=200)
    parser.add_argument("--sockets", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--think", type=float, default=0.0, help="seconds between two judgements of one person")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--workers", type=int, default=2, help="web processes")
    parser.add_argument("--databases", nargs="*", default=["sqlite", "postgres"])
    arguments = parser.parse_args()
    print(json.dumps({"cores": os.cpu_count(), "load": os.getloadavg(), **vars(arguments)}))
    for name in arguments.databases:
        with tempfile.TemporaryDirectory(prefix="assay-load-") as folder:
            data = Path(folder) / "data"
            data.mkdir()
            if name == "sqlite":
                figures = measure(data, "", arguments)
            else:
                with postgres(Path(folder) / "postgres", durable=True) as url:
                    figures = measure(data, url, arguments)
        print(json.dumps({"database": name, **figures}, indent=1), flush=True)


if __name__ == "__main__":
    main()
