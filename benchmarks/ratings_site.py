"""Votes in a database and the leaderboard's page over them: `python ratings_site.py STEP FOLDER VOTES.npz [POSTGRES]`.

Each step runs in a process of its own, started by benchmarks/ratings.py, and prints one line of JSON with the peak of
its memory. Steps: `load` makes the SQLite file, or fills the Postgres of that address, `fold` counts the votes for the
first time, `voters` reads how they are spread over voters, `page` opens the page as a visitor does, before and after
single votes.
"""

from __future__ import annotations

import json
import os
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
os.environ["LOG_LEVEL"] = "WARNING"
os.environ.pop("DEBUG", None)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

SLUG, BLOCK, PROMPTS = "benchmark", 50_000, 20
LABELS = ("model_a", "model_b", "tie", "both_bad")
COLUMNS = ("prompt_id", "completion_a_id", "completion_b_id", "winner", "author_id")  # those that differ by the vote


def load(votes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Rows as the product writes them, with all its indexes, in the bulk: the indexes are made at the end."""
    from django.db import connection

    from benchmarks.database import make_tables

    make_tables(os.environ)
    answers = _surroundings(int(votes["models"]), int(votes["voters"]))
    if connection.vendor == "postgresql":
        return _load_postgres(votes, answers)
    path = connection.settings_dict["NAME"]
    connection.close()
    begun = time.perf_counter()
    database = sqlite3.connect(path)
    database.execute("PRAGMA synchronous=OFF")
    indexes = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type='index' AND tbl_name='annotate_comparison' AND sql IS NOT NULL"
    ).fetchall()
    for name, _ in indexes:
        database.execute(f"DROP INDEX {name}")
    constant = _constant_columns()
    names = [*COLUMNS, *constant]
    insert = f"INSERT INTO annotate_comparison ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for rows in _rows(votes, answers, tuple(constant.values())):
        database.executemany(insert, rows)
        database.commit()
    for _, statement in indexes:
        database.execute(statement)
    database.commit()
    database.close()
    return {"load s": time.perf_counter() - begun, "file MB": Path(path).stat().st_size / 1e6}


def _load_postgres(votes: Mapping[str, np.ndarray], answers: np.ndarray) -> dict[str, float]:
    """As `load` fills SQLite. The server's account may leave foreign keys unchecked."""
    from django.db import connection

    begun, constant = time.perf_counter(), _constant_columns()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE NOT indisprimary AND "
            "indrelid = 'annotate_comparison'::regclass AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)"
        )
        indexes = cursor.fetchall()
        for name, _ in indexes:
            cursor.execute(f"DROP INDEX {name}")
        names = ", ".join([*COLUMNS, *constant])
        for rows in _rows(votes, answers, tuple(constant.values())):
            with cursor.copy(f"COPY annotate_comparison ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        for _, statement in indexes:
            cursor.execute(statement)
        cursor.execute("ANALYZE annotate_comparison")
    return {"load s": time.perf_counter() - begun}


def fold(votes: Mapping[str, np.ndarray]) -> dict[str, float]:
    from annotate.models import Project
    from evaluation.leaderboard.votes.counts import counts_of

    project = Project.objects.get(slug=SLUG)
    begun = time.perf_counter()
    counts = counts_of(project, "person")
    assert counts is not None and counts.votes == int(votes["votes"]), "every vote is counted"
    return {"fold s": time.perf_counter() - begun}


def voters(votes: Mapping[str, np.ndarray]) -> dict[str, float]:
    from evaluation.leaderboard.rating_intervals import refresh
    from evaluation.models import VoteCounts

    begun = time.perf_counter()
    spread = refresh(VoteCounts.objects.get(project__slug=SLUG, judge="person", part="").pk)
    assert spread is not None and spread.voters == int(votes["voters"])
    return {"read voters s": time.perf_counter() - begun}


def page(votes: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The first page of a fresh process, then warm ones, then ones for which a vote has just been cast."""
    from django.test import Client

    from annotate.models import Comparison, Project
    from evaluation.leaderboard import rating_intervals as intervals
    from evaluation.leaderboard.snapshots import current

    intervals._refresh_in_background = lambda pk: None  # timed as a step of its own
    project, client = Project.objects.get(slug=SLUG), Client()
    newest = Comparison.objects.order_by("-id").values().first()
    assert newest is not None

    def cast() -> None:
        Comparison.objects.create(**{name: value for name, value in newest.items() if name != "id"})

    def opened() -> None:
        response = client.get(f"/p/{SLUG}/leaderboard/")
        assert response.status_code == 200 and b'id="board"' in response.content

    found = {"first page ms": _milliseconds(opened, 1), "warm page ms": _milliseconds(opened, 20)}
    found["vote to ratings ms"] = _milliseconds(lambda: current(project=project, judge="person"), 15, before=cast)
    found["page after a vote ms"] = _milliseconds(opened, 15, before=cast)
    assert current(project=project, judge="person").votes == int(votes["votes"]) + 30
    return found


STEPS: dict[str, Callable[[Mapping[str, np.ndarray]], dict[str, float]]] = {
    "load": load,
    "fold": fold,
    "voters": voters,
    "page": page,
}


def _surroundings(models: int, people: int) -> np.ndarray:
    """Models in the arena, prompts, people; (prompts, models) ids of the answers."""
    from annotate.models import Completion, Contestant, LanguageModel, Project, Prompt, User
    from common import splits

    project = Project.objects.create(slug=SLUG, name="Benchmark", is_public=True)
    made = [LanguageModel(name=f"contender-{k:03d}", folder=f"models/{k}") for k in range(models)]
    made = LanguageModel.objects.bulk_create(made)
    for child, parent in zip(made[1::2], made[::2], strict=False):
        child.parent = parent
        child.save(update_fields=["parent"])
    Contestant.objects.bulk_create([Contestant(project=project, model=model) for model in made])
    User.objects.bulk_create([User(pk=k + 1, username=f"voter-{k}") for k in range(people)], batch_size=10_000)
    asked = [[{"role": "user", "content": f"Question {k}: why is the sky blue at noon?"}] for k in range(PROMPTS)]
    prompts = Prompt.objects.bulk_create(
        [
            Prompt(
                project=project, messages=m, text_hash=splits.text_hash(m), side="eval", category=f"category {k % 5}"
            )
            for k, m in enumerate(asked)
        ]
    )
    answers = [Completion(prompt=prompt, model=model, text="An answer.") for prompt in prompts for model in made]
    return np.array([row.pk for row in Completion.objects.bulk_create(answers)]).reshape(PROMPTS, models)


def _constant_columns() -> dict[str, Any]:
    """Return what all votes have alike, as the database keeps it: the model's defaults fill new columns, too."""
    from django.db import connection

    from annotate.models import Comparison, Project

    vote = Comparison(project=Project.objects.get(slug=SLUG), judge="person", source="arena", status="counted")
    fields = [f for f in Comparison._meta.concrete_fields if not f.primary_key and f.column not in COLUMNS]
    return {f.column: f.get_db_prep_save(f.pre_save(vote, add=True), connection) for f in fields}


def _rows(votes: Mapping[str, np.ndarray], answers: np.ndarray, constant: tuple) -> Iterator[Iterator[tuple]]:
    from annotate.models import Completion

    prompts = dict(Completion.objects.values_list("pk", "prompt_id"))
    prompt_of = np.array([prompts[pk] for pk in answers[:, 0].tolist()])
    for first in range(0, len(votes["a"]), BLOCK):
        some = slice(first, first + BLOCK)
        asked = np.arange(first, first + len(votes["a"][some])) % PROMPTS
        columns = (
            prompt_of[asked], answers[asked, votes["a"][some]], answers[asked, votes["b"][some]],
            np.array(LABELS)[votes["label"][some]], votes["voter"][some] + 1,
        )  # fmt: skip
        yield ((*varying, *constant) for varying in zip(*(column.tolist() for column in columns), strict=True))


def _milliseconds(work: Callable[[], Any], repeats: int, before: Callable[[], Any] = lambda: None) -> float:
    """The median; `before` is not timed."""
    taken = []
    for _ in range(repeats):
        before()
        begun = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - begun))
    return statistics.median(taken)


def peak_megabytes() -> float:
    """Of this process since it began its program: ru_maxrss would begin with what its parent held at the fork."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> None:
    step, folder, path, *postgres = sys.argv[1:]
    os.environ["ASSAY_DATA"] = folder
    os.environ.pop("DATABASE_URL", None)
    if postgres:
        os.environ["DATABASE_URL"] = postgres[0]
    import django

    django.setup()
    from django.conf import settings

    settings.DEBUG = False  # else Django keeps every query; from the start, style sheets would have to be collected
    votes = np.load(path)  # array by array, as they are asked for
    found = STEPS[step]({name: votes[name] for name in votes.files} if step == "load" else votes)
    found["peak MB"] = peak_megabytes()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
