"""What a row of the commonest formats costs an import, in microseconds of a processor.

    python -m benchmarks.import_formats --postgres                     100,000 rows of each, a fresh Postgres with fsync
    python -m benchmarks.import_formats --rows 20000 --only pairs,csv  some of them, on SQLite

Each format is imported into a database of its own by one process, which reads, checks and writes as a background worker
does. Told are the worker's and the server's processor time a row: of all, and of the tenth of the portions that cost
least, which other work on the machine disturbs least. A checksum of what was written tells two versions apart.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks import imports
from tests.support.servers import postgres

Lot = random.Random
_TABLES = ("Prompt", "Completion", "Comparison", "Rating")
_MOMENTS = {"created_at", "updated_at", "language_read_at"}
_COLUMNS = "prompt=question,completion_a=first,completion_b=second,winner=better,author=who"


class Texts:
    """Made-up questions and answers, the same for each seed."""

    def __init__(self, seed: int) -> None:
        self.lot = lot = Lot(seed)
        self._words = ["".join(lot.choices(imports.SYLLABLES, k=lot.choice((1, 2, 2, 3)))) for _ in range(20_000)]

    def some(self, least: int, most: int) -> str:
        return " ".join(self.lot.choices(self._words, k=self.lot.randint(least, most)))

    def question(self, n: int) -> str:
        return f"{n} {self.some(8, 22)}?"

    def answer(self) -> str:
        return self.some(20, 70)


Rows = Iterator[dict[str, Any]]


def pairs(texts: Texts, rows: int) -> Rows:
    """TRL's preferences."""
    for n in range(rows):
        yield {"prompt": texts.question(n), "chosen": texts.answer(), "rejected": texts.answer()}


def chats(texts: Texts, rows: int) -> Rows:
    """The same as conversations."""
    for row in pairs(texts, rows):
        turns = {name: [{"role": "assistant", "content": row[name]}] for name in ("chosen", "rejected")}
        yield {"prompt": [{"role": "user", "content": row["prompt"]}], **turns}


def answers(texts: Texts, rows: int) -> Rows:
    """Prompts with two answers of named models, to be judged."""
    for n in range(rows):
        two = {"response_a": texts.answer(), "response_b": texts.answer()}
        yield {"prompt": texts.question(n), **two, "model_a": "one", "model_b": "two"}


def labels(texts: Texts, rows: int) -> Rows:
    """TRL's unpaired preferences: thumbs."""
    for n in range(rows):
        yield {"prompt": texts.question(n), "completion": texts.answer(), "label": n % 3 == 0}


def prompts(texts: Texts, rows: int) -> Rows:
    for n in range(rows):
        yield {"prompt": texts.question(n)}


def votes(texts: Texts, rows: int) -> Rows:
    """Comparisons in rows of ours: many people judge the same answers of eight models to some prompts."""
    asked = [(texts.question(n), [texts.answer() for _ in range(8)]) for n in range(max(1, rows // 100))]
    for _ in range(rows):
        (question, given), (a, b) = texts.lot.choice(asked), texts.lot.sample(range(8), 2)
        yield {
            "type": "comparison", "prompt": question, "completion_a": given[a], "completion_b": given[b],
            "model_a": f"model-{a}", "model_b": f"model-{b}", "author": f"person-{texts.lot.randrange(500)}",
            "winner": texts.lot.choice(("model_a", "model_b", "tie", "both_bad")),
        }  # fmt: skip


def stars(texts: Texts, rows: int) -> Rows:
    """Ratings in rows of ours: many people rate the same answers."""
    for row in votes(texts, rows):
        kept = {"prompt": row["prompt"], "completion": row["completion_a"], "model": row["model_a"]}
        yield {"type": "rating", **kept, "stars": texts.lot.randint(1, 5), "author": row["author"]}


def table(texts: Texts, rows: int) -> Rows:
    """A table whose columns have other names."""
    for row in pairs(texts, rows):
        better = texts.lot.choice(("a", "b", "tie"))
        yield {
            "question": row["prompt"], "first": row["chosen"], "second": row["rejected"], "better": better,
            "who": f"person-{texts.lot.randrange(500)}",
        }  # fmt: skip


def _as_lines(rows: Rows, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def _as_csv(rows: Rows, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        first = next(rows)
        writer = csv.DictWriter(file, first)
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(rows)


def _as_parquet(rows: Rows, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=10_000)


_WRITERS = {"jsonl": _as_lines, "csv": _as_csv, "parquet": _as_parquet}
FORMATS: dict[str, tuple[Callable[[Texts, int], Rows], str, str]] = {
    "pairs": (pairs, "jsonl", ""),
    "chats": (chats, "jsonl", ""),
    "answers": (answers, "jsonl", ""),
    "labels": (labels, "jsonl", ""),
    "prompts": (prompts, "jsonl", ""),
    "votes": (votes, "jsonl", ""),
    "stars": (stars, "jsonl", ""),
    "csv": (table, "csv", _COLUMNS),
    "parquet": (pairs, "parquet", ""),
}


def measure(folder: Path, name: str, rows: int) -> None:
    import django

    django.setup()
    from annotate.data.imports.engine import Work, claim

    imports.prepare()
    make, container, columns = FORMATS[name]
    path = folder / f"rows.{container}"
    _WRITERS[container](make(Texts(0), rows), path)
    number = imports.queue(path, *(["--columns", columns] if columns else []))
    claimed = claim(only=number)
    assert claimed is not None
    begun, work = _both(folder), Work(claimed)
    stands = [(_own(), _backend())]
    while work.step():
        stands.append((_own(), _backend()))
    if len(stands) == 1:  # all in one portion
        stands.append((_own(), _backend()))
    work.close()
    done = imports.state(number)
    assert done["state"] == "done" and dict(done["counts"])["rows"] == rows, done  # type: ignore[call-overload]
    _tell(name, rows, begun, stands, _both(folder))


def _both(folder: Path) -> tuple[float, float]:
    """Return seconds of a processor of this process and of all of the server."""
    own = folder / "postgres"
    return _own(), imports.server_seconds(own) if own.exists() else 0.0


def _own() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _backend() -> float:
    """Return the seconds of the server's process for our connection, to the nanosecond: a portion takes hundredths."""
    from django.db import connection

    if connection.vendor != "postgresql":
        return 0.0
    schedule = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
    return int(schedule.read_text(encoding="ascii").split()[0]) / 1e9


def _tell(name: str, rows: int, begun: tuple[float, float], stands: list, ended: tuple[float, float]) -> None:
    each = [round(1e6 * (end - start) / rows) for start, end in zip(begun, ended, strict=True)]
    portions = len(stands) - 1
    least = [sorted(later[i] - sooner[i] for sooner, later in pairwise(stands))[portions // 10] for i in range(2)]
    tenth = [round(1e6 * seconds * portions / rows) for seconds in least]
    print(
        f"{name:8} worker {each[0]:4} ({tenth[0]:4}), server {each[1]:4} ({tenth[1]:4}), "
        f"in all {sum(each):4} µs a row; {_checksum()}, load {os.getloadavg()[0]:.0f}",
        flush=True,
    )


def _checksum() -> str:
    """Return a short hash of all that stands but moments, whatever the order in which it was written."""
    from annotate import models

    total = 0
    for table in _TABLES:
        model = getattr(models, table)
        names = sorted(field.attname for field in model._meta.concrete_fields if field.name not in _MOMENTS)
        for row in model._default_manager.order_by().values_list(*names).iterator(5_000):
            total += int.from_bytes(hashlib.blake2b(repr((table, row)).encode(), digest_size=8).digest())
    return f"{total % 2**32:08x}"


@contextmanager
def _place(is_postgres: bool) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        folder = Path(name)
        if is_postgres:
            os.environ["DATABASE_URL"] = servers.enter_context(postgres(folder / "postgres", durable=True))
        os.environ.update({"ASSAY_DATA": name, "DJANGO_SETTINGS_MODULE": "config.settings", "DEBUG": "0"})
        os.environ.setdefault("SECRET_KEY", "for a benchmark alone")
        yield folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--only", default=",".join(FORMATS), help="formats, separated by commas")
    parser.add_argument("--postgres", action="store_true", help="on a Postgres of its own")
    asked = parser.parse_args()
    begun = time.monotonic()
    for name in asked.only.split(","):
        with _place(asked.postgres) as folder:  # a process for each: nothing is warm, and Django is set up once
            process = get_context("spawn").Process(target=measure, args=(folder, name, asked.rows))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(process.exitcode)
    print(f"{time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main()
