"""An installation on Postgres is upgraded while its old version serves: seconds of refusals, locks, and rows.

    python -m benchmarks.upgrade                          from the commit before the newest migration, a million rows
    python -m benchmarks.upgrade --old main~40 --rows 200000 --people 10

The old version is unpacked from git beside this one and uses the same packages. It makes its tables in an empty
Postgres (with fsync), fills them (`pages`: half comparisons, half ratings) and serves; people vote without a pause.
Then, as docs/guides/operating.md says: the new version migrates, its web process starts, new requests go there, and
the old one is ended. People send again what was refused, with the same Idempotency-Key.

Told are the seconds in which requests were refused or waited for more than one, what each lock that others wait for was
held by and for how long, and whether every row of before is there with all that it said, and every vote that was
acknowledged. The exit status is 1 where one is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.database import make_tables
from benchmarks.load_client import percentiles
from benchmarks.refusal import refuse
from tests.support.processes import FOREIGN, ROOT, answers, free_port, until
from tests.support.servers import postgres

# What is never changed once it stands.
TABLES = ("comparison", "rating", "completion", "prompt", "guideline", "dataset", "statuschange", "auditentry")
SLOW = 1.0  # seconds: somebody notices
# By this version's script, for the tables of whichever version runs it. Both parts call people and models alike.
FILL = """
import importlib.util, sys, django
django.setup()
from django.db.models import F, Value
from django.db.models.functions import Concat
from annotate.models import LanguageModel, User
found = importlib.util.spec_from_file_location("large_project", sys.argv[4])
large_project = importlib.util.module_from_spec(found)
found.loader.exec_module(large_project)
large_project.fill(int(sys.argv[3]))
LanguageModel.objects.update(name=Concat(Value("large-"), F("name")))
User.objects.update(username=Concat(Value("large-"), F("username")))
from benchmarks import load
exec(load.FILL)
"""
_LOCKS = """
select blocking.query, waiting.pid, waiting.query
from pg_stat_activity waiting
join lateral unnest(pg_blocking_pids(waiting.pid)) as holder(pid) on true
join pg_stat_activity blocking on blocking.pid = holder.pid
where blocking.application_name = 'migrate'
"""


@dataclass
class Votes:
    """What people saw. `url` is where new requests go."""

    url: str
    taken: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)  # moments
    slow: list[tuple[float, float]] = field(default_factory=list)  # moment, seconds
    receipts: list[int] = field(default_factory=list)
    is_over: bool = False

    def vote(self, token: str) -> None:
        """Judge one item after the other until it is over."""
        draw, task = random.Random(token), None
        with httpx.Client(headers={"Authorization": f"Token {token}"}, timeout=60) as client:
            while not self.is_over:
                if task is None:
                    task = self._ask(client, "/api/v1/projects/load/assignments/", {"kind": "compare"})
                    continue
                winner = draw.choice(("model_a", "model_b", "tie", "both_bad"))
                said = self._ask(client, f"/api/v1/assignments/{task['id']}/submit/?next=1", {"winner": winner})
                if said is not None:
                    self.receipts.append(said["id"])
                    task = said.get("next")

    def _ask(self, client: httpx.Client, path: str, body: dict[str, Any]) -> Any:
        """Return the answer, however often it must be asked for; None where there is none, or at the end."""
        key = {"Idempotency-Key": uuid.uuid4().hex}
        while not self.is_over:
            began = time.monotonic()
            try:
                response = client.post(self.url + path, json=body, headers=key)
            except httpx.HTTPError:
                self.refused.append(began)
                time.sleep(0.05)
                continue
            seconds = time.monotonic() - began
            if response.status_code >= 500:
                self.refused.append(began)
                continue
            self.taken.append(seconds)
            if seconds > SLOW:
                self.slow.append((began, seconds))
            return response.json() if response.status_code in (200, 201) else None
        return None


@dataclass
class Locks:
    """Who waited for the migration, looked at twenty times a second."""

    database: str
    waits: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    is_over: bool = False

    def watch(self) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            while not self.is_over:
                for holder in {row[0] for row in connection.execute(_LOCKS)}:
                    self.waits[" ".join(holder.split())[:110]] += 1
                time.sleep(0.05)


def newest_migration_parent() -> str:
    words = ["log", "-1", "--diff-filter=A", "--format=%H", "--", "*/migrations/[0-9]*.py"]
    return f"{_git(*words).strip()}^"


def _git(*words: str) -> str:
    ended = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        refuse(f"git has no such version ({ended.stderr.strip().splitlines()[0]}): name one with --old.")
    return ended.stdout


def unpack(commit: str, folder: Path) -> None:
    """Put the files of a commit there."""
    _git("rev-parse", "--verify", f"{commit}^{{commit}}")
    folder.mkdir()
    archive = subprocess.Popen(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)
    archive.wait()


def environment(tree: Path, data: Path, database: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in (*FOREIGN, "ASSAY_DATA")}
    return inherited | {
        **{"ASSAY_DATA": str(data), "DATABASE_URL": database, "PYTHONPATH": str(tree), "DEBUG": "0"},
        **{"SECRET_KEY": "of an upgrade", "LOG_LEVEL": "ERROR", "DJANGO_SETTINGS_MODULE": "config.settings"},
        **{"OPENBLAS_NUM_THREADS": "1", "ALLOWED_HOSTS": "127.0.0.1", "DATABASE_CONNECTIONS": "8"},
    }


def make_tables_of(tree: Path, variables: Mapping[str, str]) -> None:
    """Make the tables of a version: this one's are copied from what is migrated once."""
    if tree == ROOT:
        make_tables(variables)
    else:
        run(tree, variables, "manage.py", "migrate", "--verbosity", "0")


def run(tree: Path, variables: Mapping[str, str], *words: str) -> str:
    """Run Python in the tree of a version; return what it prints."""
    return subprocess.run(
        [sys.executable, *words], cwd=tree, env=dict(variables), check=True, stdout=subprocess.PIPE, text=True
    ).stdout


@contextmanager
def web(tree: Path, variables: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Yield the address of a web process of that version, as soon as it answers, and the process."""
    port = free_port()
    line = [sys.executable, "-m", "uvicorn", "config.asgi:application", "--port", str(port), "--log-level", "error"]
    line += ["--no-proxy-headers", "--timeout-graceful-shutdown", "30"]
    process = subprocess.Popen(line, cwd=tree, env=dict(variables), stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        until(lambda: answers(f"{url}/api/v1/projects/"), 300, f"{tree} serves")
        yield url, process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()


def sums(database: str, columns: Mapping[str, list[str]], last: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """Return of each table how many rows there are up to the last one of before, and a sum over all that they say."""
    told = {}
    with psycopg.connect(database) as connection:
        for table, names in columns.items():
            listed = ", ".join(f'"{name}"' for name in names)
            line = f"select count(*), coalesce(sum(hashtextextended(row({listed})::text, 0)), 0)::text"
            row = connection.execute(f"{line} from annotate_{table} where id <= %s", [last[table]]).fetchone()
            told[table] = (row[0], row[1])
    return told


def columns_of(database: str) -> dict[str, list[str]]:
    with psycopg.connect(database) as connection:
        line = "select column_name from information_schema.columns where table_name = %s order by ordinal_position"
        return {table: [name for (name,) in connection.execute(line, [f"annotate_{table}"])] for table in TABLES}


def last_ids(database: str) -> dict[str, int]:
    with psycopg.connect(database) as connection:
        line = "select coalesce(max(id), 0) from annotate_{}"
        return {table: connection.execute(line.format(table)).fetchone()[0] for table in TABLES}


def missing(database: str, receipts: list[int]) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute("select count(*) from annotate_comparison where id = any(%s)", [receipts]).fetchone()
    return len(set(receipts)) - row[0]


def upgrade(old: Path, folder: Path, database: str, people: list[str], seconds: float) -> int:
    data = folder / "data"
    of_old, of_new = environment(old, data, database), environment(ROOT, data, database)
    columns, last = columns_of(database), last_ids(database)
    before = sums(database, columns, last)
    locks, moments = Locks(database), {"began": time.monotonic()}
    with web(old, of_old) as (url, process):
        votes = Votes(url)
        threads = [threading.Thread(target=votes.vote, args=(token,)) for token in people]
        threads.append(threading.Thread(target=locks.watch))
        for thread in threads:
            thread.start()
        try:
            time.sleep(seconds)
            moments["migrates"] = time.monotonic()
            run(ROOT, of_new | {"PGAPPNAME": "migrate"}, "manage.py", "migrate", "--verbosity", "0")
            moments["migrated"] = time.monotonic()
            time.sleep(seconds)  # the old version on the new tables
            with web(ROOT, of_new) as (votes.url, _):
                moments["switched"] = time.monotonic()
                process.send_signal(signal.SIGTERM)  # it answers what it has begun
                time.sleep(seconds)
                votes.is_over = locks.is_over = True
                for thread in threads:
                    thread.join()
        finally:
            votes.is_over = locks.is_over = True
    after = sums(database, columns, last)
    return report(votes, locks, moments, before == after, missing(database, votes.receipts), before)


def report(
    votes: Votes, locks: Locks, moments: Mapping[str, float], is_same: bool, lost: int, rows: Mapping[str, Any]
) -> int:
    began = moments["began"]
    refused = {int(moment - began) for moment in votes.refused}
    print("| | |\n|---|---:|")
    print(f"| rows of before | {sum(count for count, _ in rows.values()):,} |")
    print(f"| migrations took | {moments['migrated'] - moments['migrates']:.1f} s |")
    print(f"| requests answered | {len(votes.taken):,}, ms {percentiles(votes.taken)} |")
    print(f"| refused | {len(votes.refused)}, in {len(refused)} seconds |")
    longest = max((seconds for _, seconds in votes.slow), default=0.0)
    print(f"| waited for more than {SLOW:g} s | {len(votes.slow)}, {longest:.1f} s at most |")
    while_it_ran = [s for at, s in votes.slow if at < moments["migrated"] and at + s > moments["migrates"]]
    print(f"| of these while migrations ran | {len(while_it_ran)}, {max(while_it_ran, default=0.0):.1f} s at most |")
    print(f"| rows equal before and after | {'yes' if is_same else 'NO'} |")
    print(f"| votes acknowledged and not stored | {lost} of {len(votes.receipts):,} |")
    for holder, looks in sorted(locks.waits.items(), key=lambda one: -one[1]):
        print(f"| others waited for `{holder}` | {looks * 0.05:.2f} s |")
    for moment in sorted(votes.refused)[:5]:
        print(f"refused {moment - moments['migrates']:.2f} s after the migration began", file=sys.stderr)
    return int(lost > 0 or not is_same)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--old",
        default="",
        help="commit that serves before; by default that before the newest migration; . this version itself",
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=2000, help="of four answers each, that are voted on")
    parser.add_argument("--seconds", type=float, default=15, help="of votes before, between and after")
    options = parser.parse_args()
    commit = options.old or newest_migration_parent()
    with tempfile.TemporaryDirectory(prefix="assay-upgrade-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        tree = ROOT if commit == "." else folder / "old"
        if tree != ROOT:
            unpack(commit, tree)
        with postgres(folder / "postgres", durable=True) as database:
            old = environment(tree, folder / "data", database)
            make_tables_of(tree, old)
            began = time.monotonic()
            words = (str(options.people), str(options.prompts), str(options.rows), str(ROOT / "benchmarks/pages.py"))
            people = json.loads(run(tree, old, "-c", FILL, *words).splitlines()[-1])
            print(f"From {commit}; {options.rows:,} rows written in {time.monotonic() - began:.0f} s", flush=True)
            return upgrade(tree, folder, database, people, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
