"""Half an hour of a site in service at a moderate rate: whether memory, connections, open files and keys stay flat.

    python -m benchmarks.soak                                              30 minutes, the first five to warm up
    python -m benchmarks.soak --minutes 2 --warm-up 0.4 --every 10 --people 5 --sample-every 30
    python -m benchmarks.soak --sample-every 0                             without runs

The site is that of `service_faults`: Postgres, Redis, an S3 server, two web processes, two workers, a background worker
and two model servers. People judge pairs and visitors vote in an arena (`service_people`), browsers open battles with
five sockets each and go again (`load_waiting`), and a run samples answers now and then. Nothing is killed.

Each row is a reading: the memory of each part in MB (PSS: shared pages count by their share; what a worker started,
its fork server and recipes, stands apart), threads and open files of our processes, connections and sessions of
Postgres and Redis, keys of Redis, temporary files. A part grows where the least of the last third of the readings after
the warm-up is more than --most-growth above the least of the first third: the least, for recipes come and go. Postgres
touches its shared buffers for the first time as it goes, so its memory is shown, and no growth; of fewer than six
readings nothing is told. Afterwards what was
acknowledged is looked up, and `manage.py verify` is run. The exit status is 1 where anything grew or a promise broke.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import redis

from benchmarks.cluster_faults import report
from benchmarks.cluster_promises import Promise
from benchmarks.hosts_site import BACKGROUND, MODELS, WEBS, WORKERS
from benchmarks.load import SLUG
from benchmarks.load_client import Connection, percentiles
from benchmarks.load_waiting import SOCKETS_OF_ONE, browser
from benchmarks.service_faults import LOOP, fill, start_loop, stored_promises
from benchmarks.service_people import Votes, crowd
from benchmarks.service_site import ServiceSite, service_site

STAGES = 3  # of the demo's loop: a model, its prompts, and a run that answers them
FEWEST_READINGS = 6
SHOWN_ALONE = {"postgres MB", "database MB"}  # these grow with what is stored, and by touching what is reserved
PAGES = (f"/p/{SLUG}/", f"/p/{SLUG}/leaderboard/", "/", f"/api/v1/projects/{SLUG}/")
Reading = dict[str, float]
_KEY = f"""
    from annotate.models import User
    from annotate.projects.accounts.actions import sign_in
    from training.models import Run
    run = Run.objects.filter(project__slug="{LOOP}", kind="sample").first()
    print(sign_in(User.objects.get(username="demo")), run.pk)
"""


@contextmanager
def own_temporary_folder() -> Iterable[Path]:
    """Have this process and all that it starts keep their temporary files in one folder, where they can be counted."""
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"], tempfile.tempdir = name, None
        try:
            yield Path(name)
        finally:
            os.environ.pop("TMPDIR")
            os.environ |= {"TMPDIR": before} if before else {}
            tempfile.tempdir = None


def read_all(site: ServiceSite, temporary: Path) -> Reading:
    reading: Reading = {}
    totals: Counter[str] = Counter()
    for name in (*WEBS, BACKGROUND, *WORKERS, *MODELS):
        process = psutil.Process(site.processes[name].pid)
        started = process.children(recursive=True)
        reading[f"{name} MB"] = memory([process])
        if name in WORKERS:
            reading[f"of {name} MB"] = memory(started)
        with suppress(psutil.Error):
            totals["threads"] += process.num_threads()
            reading[f"{name} files"] = process.num_fds()
    reading |= totals
    postmaster = psutil.Process(int((site.postgres.folder / "postmaster.pid").read_text().split()[0]))
    reading["postgres MB"] = memory([postmaster, *postmaster.children()])
    asked = "select count(*), pg_database_size(current_database()) / 1e6 from pg_stat_activity where datname <> ''"
    sessions, size = site.query(asked)[0]
    reading |= {"postgres sessions": sessions - 1, "database MB": round(float(size), 1)}  # but for the one that asks
    with redis.Redis.from_url(site.redis.url) as client:
        told: Any = client.info()
        reading |= {"redis MB": round(told["used_memory"] / 1e6, 2), "redis keys": client.dbsize()}
        reading["redis sessions"] = told["connected_clients"] - 1
    left = [path for path in temporary.rglob("*") if site.data not in (path, *path.parents)]
    return reading | {"temporary files": len(left)}


def memory(processes: Iterable[psutil.Process]) -> float:
    """Return the PSS of some processes in MB; those that end meanwhile have none."""
    total = 0
    for process in processes:
        with suppress(psutil.Error, OSError):
            total += process.memory_full_info().pss
    return round(total / 1e6, 1)


class Watch:
    """Read everything each so many seconds until it is ended, and print it as one line of JSON."""

    def __init__(self, site: ServiceSite, temporary: Path, every: float) -> None:
        self.readings: list[tuple[float, Reading]] = []
        self._site, self._temporary, self._every = site, temporary, every
        self._over = threading.Event()

    def follow(self) -> None:
        began = time.monotonic()
        while True:
            seconds = time.monotonic() - began
            reading = read_all(self._site, self._temporary)
            self.readings.append((seconds, reading))
            print(json.dumps({"minute": round(seconds / 60, 1), **reading}), flush=True)
            if self._over.wait(max(0.0, began + len(self.readings) * self._every - time.monotonic())):
                return

    def end(self) -> None:
        self._over.set()


def growth(readings: list[tuple[float, Reading]], warm_up: float) -> dict[str, tuple[float, float]]:
    """Return of each figure the least of the first and of the last third of the readings after so many seconds."""
    counted = [reading for seconds, reading in readings if seconds >= warm_up]
    if len(counted) < FEWEST_READINGS:
        return {}
    third = len(counted) // 3
    first, last = counted[:third], counted[-third:]
    return {name: (min(r[name] for r in first), min(r[name] for r in last)) for name in counted[0]}


def grows(name: str, first: float, last: float, most_mb: float) -> bool:
    if name in SHOWN_ALONE:
        return False
    return last - first > (most_mb if name.endswith(" MB") else max(3, first / 10))


async def look_around(site: ServiceSite, until: float, every: float) -> Counter[str]:
    """Open a battle's page with its sockets and go again, and read the pages of the project, by turns at each web."""
    seen: Counter[str] = Counter()
    ports, count = [site.ports[name] for name in WEBS], 0
    while time.monotonic() < until:
        port, count = ports[count % len(ports)], count + 1
        stay = min(time.monotonic() + every, until)
        pages = Connection("127.0.0.1", port, {"X-Forwarded-For": f"10.9.{count // 250}.{count % 250 + 1}"})
        try:
            for path in PAGES:
                seen[f"{(await pages.ask('GET', path))[0]} for a page"] += 1
            await browser(port, count, SOCKETS_OF_ONE, stay, seen)
        except (OSError, EOFError, KeyError) as error:
            seen[f"{type(error).__name__} for a page"] += 1
        pages.close()
        await asyncio.sleep(max(0.0, stay - time.monotonic()))
    return seen


async def sample_again(site: ServiceSite, key: str, run: str, until: float, every: float) -> Counter[str]:
    """Order the same sampling run anew, now and then."""
    seen: Counter[str] = Counter()
    connection = Connection("127.0.0.1", site.ports[WEBS[0]], {"Authorization": f"Token {key}"})
    while time.monotonic() < until:
        status, _ = await connection.ask("POST", f"/api/v1/runs/{run}/again/", {})
        seen[f"{status} for a run"] += 1
        await asyncio.sleep(min(every, max(0.0, until - time.monotonic())))
    return seen


def load(site: ServiceSite, keys: list[str], options: argparse.Namespace) -> tuple[Votes, Counter[str]]:
    """Let everybody work; return what annotators and visitors were told, and what all others saw."""
    key, run = site.ask(_KEY).split()[-2:] if options.sample_every else ("", "")
    seconds = options.minutes * 60
    until = time.monotonic() + seconds

    async def others() -> Counter[str]:
        work = [look_around(site, until, 20)]
        if options.sample_every:
            work.append(sample_again(site, key, run, until, options.sample_every))
        return sum(await asyncio.gather(*work), Counter())

    with ThreadPoolExecutor(2) as pool:
        around = pool.submit(asyncio.run, others())
        ports = [site.ports[name] for name in WEBS]
        votes = pool.submit(crowd, ports, keys, options.visitors, seconds, options.think)
        return votes.result(), around.result()


def verified(site: ServiceSite) -> Promise:
    try:
        said = site.manage("verify").strip().splitlines()[-1]
    except subprocess.CalledProcessError as error:
        return Promise("manage.py verify finds no fault", error.stdout[-300:].replace("\n", "; "), False)
    return Promise("manage.py verify finds no fault", said, True)


def measure(options: argparse.Namespace) -> int:
    with own_temporary_folder() as temporary, service_site() as site:
        keys = fill(site, options.people, options.prompts)
        loop = start_loop(site, STAGES if options.sample_every else 0)
        if loop is not None and loop.wait(1200):
            raise RuntimeError("The demo's loop did not come to its third stage; what it said stands above.")
        watch = Watch(site, temporary, options.every)
        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch.follow)
            try:
                votes, seen = load(site, keys, options)
            finally:
                watch.end()
            watching.result()
        figures = growth(watch.readings, options.warm_up * 60)
        print("\n| | least at first | least at last | most | |\n|---|---|---|---|---|")
        for name, (first, last) in figures.items():
            verdict = "GROWS" if grows(name, first, last, options.most_growth) else ""
            print(f"| {name} | {first:g} | {last:g} | {max(r[name] for _, r in watch.readings):g} | {verdict} |")
        growing = [name for name, (a, b) in figures.items() if grows(name, a, b, options.most_growth)]
        flat = Promise(
            "nothing grows",
            ", ".join(growing) or f"{len(figures)} figures of {len(watch.readings)} readings",
            not growing,
        )
        status = report([flat, *stored_promises(site, votes), verified(site)])
        if status and options.keep:
            subprocess.run(["cp", "-r", str(site.data), options.keep], check=True)
    print(f"\n{len(votes.judged)} judgements, {len(votes.battles)} votes of visitors, what others saw: {dict(seen)}")
    print(f"waits for a judgement, ms: {percentiles(votes.waits)}; refused: {dict(votes.refused)}")
    print(f"asked again after: {dict(votes.repeats)}; {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}")
    return status


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, default=5.0, help="minutes that are shown and not counted")
    parser.add_argument("--every", type=float, default=60.0, help="seconds from one reading to the next")
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--visitors", type=int, default=5)
    parser.add_argument("--think", type=float, default=4.0, help="seconds for which somebody looks at an item")
    parser.add_argument("--prompts", type=int, default=2000, help="of four answers each")
    parser.add_argument(
        "--sample-every", type=float, default=240.0, help="seconds from one sampling run to the next; 0: none"
    )
    parser.add_argument("--most-growth", type=float, default=4.0, help="MB of one part")
    parser.add_argument("--keep", default="", help="where the data goes when a promise was broken")
    return measure(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
