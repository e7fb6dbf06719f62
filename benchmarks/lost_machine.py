"""Last night's backup, and then the machine is gone: minutes until an empty one serves, and votes lost.

    python -m benchmarks.lost_machine                           a million rows, 20 people who vote for a minute
    python -m benchmarks.lost_machine --rows 2000 --seconds 2 --people 2 --prompts 20

Postgres (with fsync) acknowledges a commit once an archive on another disk has it, too (`pg_receivewal --synchronous`,
the one entry of `synchronous_standby_names`). At night `pg_basebackup` copies the database and `manage.py backup` the
files. People vote on. Then Postgres and the web process are killed at once, and database and ASSAY_DATA are deleted.
On the empty machine, as docs/guides/backup.md says: the copy is put in place, Postgres reads the archive to its end,
`manage.py restore --files`, which ends with `verify`, and the site serves.

The exit status is 1 where a vote that was acknowledged is not stored, a row of before is another one, or `verify` finds
a fault.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks.load_client import percentiles
from benchmarks.service_site import Postgres
from benchmarks.upgrade import FILL, Votes, columns_of, environment, last_ids, missing, run, sums, web
from tests.support.processes import ROOT, until

_ARCHIVE = "archive"  # its name among the standbys, and that of its slot
# Weights for the models of those rows: half a million numbers each.
_MODELS = """
import os, django
django.setup()
from annotate.models import LanguageModel
from tests.support.evaluation.small_installation import write_weights
from training.core.file_checks.content_hashes import full_weights_hash
for model in LanguageModel.objects.exclude(folder=""):
    if not model.path.exists():
        write_weights(model.path / "model.safetensors", os.urandom(2_000_000))
        (model.path / "config.json").write_text("{}")
    model.content_hash = full_weights_hash(model.path)
    model.save()
"""


@dataclass
class Archive:
    """The log of a server, written elsewhere as it is written there."""

    postgres: Postgres
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Start it, and let a commit be acknowledged once it is in both places."""
        self.postgres.make_folder(self.folder)
        target = f"{self.postgres.url}?application_name={_ARCHIVE}"
        line = ["pg_receivewal", "-d", target, "-D", str(self.folder), "--slot", _ARCHIVE]
        self.postgres.call(*line, "--create-slot")
        self.process = self.postgres.start_program(*line, "--synchronous", "--no-loop")
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"alter system set synchronous_standby_names = '{_ARCHIVE}'")
            connection.execute("select pg_reload_conf()")
            until(lambda: self._is_synchronous(connection), 30, "the archive is synchronous")

    def _is_synchronous(self, connection: psycopg.Connection) -> bool:
        row = connection.execute("select count(*) from pg_stat_replication where sync_state = 'sync'").fetchone()
        return bool(row and row[0])

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@dataclass
class Clock:
    """Seconds of each step, printed as a row of a table."""

    steps: dict[str, float] = field(default_factory=dict)

    def took(self, name: str, began: float) -> None:
        self.steps[name] = time.monotonic() - began
        print(f"| {name} | {self.steps[name]:.1f} s |", flush=True)


def back_up(postgres: Postgres, target: Path, variables: Mapping[str, str], clock: Clock) -> None:
    """Copy the database and the files, as every night."""
    began = time.monotonic()
    postgres.make_folder(target / "database")
    postgres.call("pg_basebackup", "-d", postgres.url, "-D", str(target / "database"), "-X", "none", "-c", "fast")
    clock.took("at night: pg_basebackup", began)
    began = time.monotonic()
    (target / "files").mkdir()
    run(ROOT, variables, "manage.py", "backup", str(target / "files"))
    clock.took("at night: manage.py backup", began)


def lose(postgres: Postgres, data: Path) -> None:
    """Kill all processes of the server at once, and delete what the machine held."""
    pid = int((postgres.folder / "postmaster.pid").read_text().split()[0])
    processes = [psutil.Process(pid), *psutil.Process(pid).children()]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)
    shutil.rmtree(postgres.folder)
    shutil.rmtree(data)


def restore_database(postgres: Postgres, copy: Path, archive: Path) -> None:
    """Start a server on the copy that reads the archive to its end, the unfinished file included."""
    subprocess.run(["cp", "-a", str(copy), str(postgres.folder)], check=True)
    with (postgres.folder / "postgresql.auto.conf").open("a") as settings:
        settings.write(f"restore_command = 'cp {archive}/%f %p || cp {archive}/%f.partial %p'\n")
        settings.write("synchronous_standby_names = ''\n")  # until the new server has an archive
    (postgres.folder / "recovery.signal").touch()
    postgres.start()
    until(lambda: not _is_in_recovery(postgres), 3600, f"Postgres has read the archive; see {postgres.folder}/log")


def _is_in_recovery(postgres: Postgres) -> bool:
    try:
        with psycopg.connect(postgres.url) as connection:
            row = connection.execute("select pg_is_in_recovery()").fetchone()
            return bool(row is None or row[0])
    except psycopg.OperationalError:
        return True


def lose_and_restore(folder: Path, options: argparse.Namespace) -> int:
    clock, safe = Clock(), folder / "other-disk"
    data, empty = folder / "data", folder / "empty-machine"
    for new in (safe, data, empty):
        new.mkdir()
    with ExitStack() as servers:
        postgres = Postgres(folder / "postgres")
        servers.callback(postgres.end)
        postgres.start()
        variables = environment(ROOT, data, postgres.url) | postgres.path_of_programs()
        run(ROOT, variables, "manage.py", "migrate", "--verbosity", "0")
        words = (str(options.people), str(options.prompts), str(options.rows), str(ROOT / "benchmarks/pages.py"))
        people = json.loads(run(ROOT, variables, "-c", FILL, *words).splitlines()[-1])
        run(ROOT, variables, "-c", _MODELS)
        archive = Archive(postgres, safe / "log")
        servers.callback(archive.end)
        archive.begin()
        print("| | |\n|---|---:|")
        back_up(postgres, safe, variables, clock)
        columns, last = columns_of(postgres.url), last_ids(postgres.url)
        before = sums(postgres.url, columns, last)

        with web(ROOT, variables) as (url, process):
            votes = Votes(url)
            threads = [threading.Thread(target=votes.vote, args=(token,)) for token in people]
            for thread in threads:
                thread.start()
            time.sleep(options.seconds)
            process.kill()
            lose(postgres, data)
            archive.end()
            votes.is_over = True
            for thread in threads:
                thread.join()
        taken = sum(path.stat().st_size for path in safe.rglob("*") if path.is_file())

        gone = began = time.monotonic()
        restore_database(postgres, safe / "database", safe / "log")
        clock.took("Postgres from copy and archive", began)
        began, variables = time.monotonic(), environment(ROOT, empty, postgres.url) | postgres.path_of_programs()
        run(ROOT, variables, "manage.py", "restore", str(safe / "files"), "--files")
        clock.took("manage.py restore --files, verify included", began)
        began = time.monotonic()
        with web(ROOT, variables):
            clock.took("the web process serves", began)
        clock.took("from an empty machine to serving", gone)
        lost = missing(postgres.url, votes.receipts)
        is_same = sums(postgres.url, columns, last) == before
    print(f"| rows of before | {sum(count for count, _ in before.values()):,}, {'equal' if is_same else 'DIFFERENT'} |")
    print(f"| a vote, ms, with the archive synchronous | {percentiles(votes.taken)} |")
    print(f"| votes acknowledged and lost | {lost} of {len(votes.receipts):,} |")
    print(f"| backup and archive | {taken / 1e6:,.0f} MB |")
    return int(lost > 0 or not is_same)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--prompts", type=int, default=2000, help="of four answers each, that are voted on")
    parser.add_argument("--seconds", type=float, default=60, help="of votes between the backup and the end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assay-lost-") as folder:
        return lose_and_restore(Path(folder), options)


if __name__ == "__main__":
    sys.exit(main())
