"""A file of preference rows is imported by the worker, killed half-way with -9, gone on with, and counted.

    python -m benchmarks.imports                       a million rows, on SQLite
    python -m benchmarks.imports --postgres          the same on a Postgres of its own, with fsync
    python -m benchmarks.imports --rows 100000 --again  a tenth, and a second import of the same file

The rows are TRL's preference format: a question of about 15 made-up words, two answers of about 45. One line in a
thousand is no row, one in five hundred repeats the row before it. Told are rows a second (of the whole time in which a
worker worked, reading and writing), processor seconds of worker and server, the worker's largest resident memory, the
size of the database, and whether every row is there exactly once. DATABASE_URL decides where `--postgres` is not given.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from benchmarks.database import make_tables
from tests.support.servers import postgres

ROOT = Path(__file__).resolve().parent.parent
BAD_EVERY, REPEATED_EVERY = 1_000, 500
SYLLABLES = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "ol")]


@dataclass
class Watched:
    """What one worker did: seconds of work, seconds of a processor, its peak of memory, and the lines that stood when
    it ended."""

    seconds: float = 0.0
    computing: float = 0.0
    peak: int = 0
    lines: int = 0


def write_rows(path: Path, rows: int, seed: int = 0) -> tuple[int, int]:
    """How many rows can be used, and how many of those are repeats."""
    lot = random.Random(seed)
    words = ["".join(lot.choices(SYLLABLES, k=lot.choice((1, 2, 2, 3)))) for _ in range(20_000)]
    good = repeated = 0
    line = ""
    with path.open("w", encoding="utf-8") as file:
        for n in range(1, rows + 1):
            if n % BAD_EVERY == 0:
                file.write('{"prompt": "no answers"}\n')
                continue
            if n % REPEATED_EVERY == 1 and line:
                repeated += 1
            else:
                line = _row(lot, words, n)
            good += 1
            file.write(line)
    return good, repeated


def _row(lot: random.Random, words: list[str], n: int) -> str:
    question = f"{n} {' '.join(lot.choices(words, k=lot.randint(8, 22)))}?"
    chosen, rejected = (" ".join(lot.choices(words, k=lot.randint(20, 70))) for _ in range(2))
    return json.dumps({"prompt": question, "chosen": chosen, "rejected": rejected}) + "\n"


def prepare() -> None:
    from annotate.models import Project, User

    make_tables(os.environ)
    by, _ = User.objects.get_or_create(username="importer", is_superuser=True)
    Project.objects.get_or_create(slug="imported", defaults={"name": "Imported", "created_by": by})


def state(number: int) -> dict[str, object]:
    from annotate.models import Import

    return Import.objects.filter(pk=number).values("state", "lines", "counts", "problem").get()


def watch(number: int, *, until_line: int | None = None) -> Watched:
    """A worker at work, killed once it has passed a line, or until the import has ended."""
    worker = subprocess.Popen([sys.executable, "manage.py", "run_background_worker", "--only", "imports"], cwd=ROOT)
    process, seen, begun = psutil.Process(worker.pid), Watched(), None
    first = state(number)["lines"]
    try:
        while True:
            time.sleep(0.02 if until_line is not None else 0.2)  # a small import is soon past half its lines
            seen.peak = max(seen.peak, process.memory_info().rss)
            seen.computing = sum(process.cpu_times()[:2])
            now = state(number)
            seen.lines = int(str(now["lines"]))
            if begun is None and seen.lines > int(str(first)):
                begun = time.monotonic()
            if now["state"] in ("done", "failed") or worker.poll() is not None:
                break
            if until_line is not None and seen.lines >= until_line:
                worker.send_signal(signal.SIGKILL)
                break
    finally:
        seen.seconds = time.monotonic() - (begun or time.monotonic())
        if worker.poll() is None:  # done, or a small import that ended before it could be killed
            worker.terminate()
        worker.wait(30)
    seen.lines = int(str(state(number)["lines"]))
    return seen


def queue(path: Path, *more: str) -> int:
    from django.core.management import call_command

    order = ["--project", "imported", "--source", "made up", "--by", "importer", "--queue", *more]
    call_command("import_feedback", str(path), *order, stdout=(answer := io.StringIO()))
    return int(answer.getvalue().split()[1])


def let_lease_run_out(number: int) -> None:
    """Have the next worker go on at once: the half minute for which it would wait is in no figure."""
    from annotate.models import Import

    Import.objects.filter(pk=number, state=Import.State.RUNNING).update(claimed_until=datetime(2000, 1, 1, tzinfo=UTC))


def server_seconds(folder: Path | None = None) -> float:
    """Seconds of a processor of the Postgres server of this folder, else of all that are here, with processes of theirs
    that have ended."""
    if folder:
        first = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        servers = [first, *first.children(recursive=True)]
    else:
        servers = [process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres"]
    return sum(sum(process.cpu_times()[:4]) for process in servers)


def check(number: int, good: int, repeated: int, bad: int) -> dict[str, int]:
    from annotate.models import Comparison, Completion, Prompt

    stand = {
        "prompts": Prompt.objects.count(),
        "completions": Completion.objects.count(),
        "comparisons": Comparison.objects.count(),
    }
    expected = {"prompts": good - repeated, "completions": 2 * (good - repeated), "comparisons": good - repeated}
    counts = dict(state(number)["counts"])  # type: ignore[call-overload]
    assert stand == expected, (stand, expected)
    assert (counts["comparisons"], counts["already"], counts["bad"]) == (good - repeated, repeated, bad), counts
    return stand


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--again", action="store_true", help="import the same file once more")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of its own")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as servers:
        if asked.postgres:
            os.environ["DATABASE_URL"] = servers.enter_context(postgres(Path(folder) / "postgres", durable=True))
        os.environ.update({"ASSAY_DATA": folder, "DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "0"})
        os.environ.setdefault("SECRET_KEY", "for a benchmark alone")
        measure(Path(folder), asked)


def measure(folder: Path, asked: argparse.Namespace) -> None:
    import django

    django.setup()
    from django.db import connection

    path = folder / "rows.jsonl"
    good, repeated = write_rows(path, asked.rows, asked.seed)
    prepare()
    print(
        f"{asked.rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB, {connection.vendor}, load {os.getloadavg()[0]:.1f}"
    )
    own = folder / "postgres" if asked.postgres else None
    number, served = queue(path), server_seconds(own)
    first = watch(number, until_line=asked.rows // 2)
    print(f"killed with -9 behind line {first.lines:,}")
    let_lease_run_out(number)
    second = watch(number)
    served = server_seconds(own) - served
    rows = check(number, good, repeated, asked.rows - good)
    seconds = first.seconds + second.seconds
    print(f"{asked.rows / seconds:,.0f} rows a second ({seconds:,.0f} s of work), exactly: {rows}")
    print(f"{first.computing + second.computing:,.0f} s of a processor in the worker, {served:,.0f} s in the server")
    print(f"largest resident memory {max(first.peak, second.peak) / 1e6:,.0f} MB")
    if connection.vendor == "sqlite":
        print(f"database {(folder / 'assay.sqlite3').stat().st_size / 1e6:,.0f} MB")
    if asked.again:
        again = watch(queue(path))
        check(number, good, repeated, asked.rows - good)
        speed = asked.rows / again.seconds
        print(f"the same file again: {speed:,.0f} rows a second, {again.peak / 1e6:,.0f} MB, nothing added")


if __name__ == "__main__":
    main()
