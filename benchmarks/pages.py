"""Each page of a large project on Postgres: how long it takes, and how many queries it makes.

    python -m benchmarks.pages                       a million annotations
    python -m benchmarks.pages --rows 10000000 --keep FOLDER    filled once, measured as often as one likes

Half of the rows are comparisons and half are ratings, by a thousand people over a year; one in a hundred is held. The
database writes them itself, as copies of one row that the product has written, so that every column is what it would
be; what is kept of them (counts, the queue) is computed by the product's own commands. Each page is then opened as a
manager, once to warm up and `--repeats` times: the median, the most queries, and the slowest query of the slowest
pages.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SLUG = "large"
PEOPLE, MODELS, ROWS_OF_A_PROMPT = 1000, 8, 50
GOAL_MS = 200
ACCEPTED = 202  # a page whose figures the background worker has yet to compute
PAGES = (
    *("", "settings/", "guidelines/", "people/", "webhooks/", "arena/", "audit/", "judge/", "adjudicate/", "reviews/"),
    *("gold/", "votes/", "data/", "playground/", "evaluations/", "models/", "held/", "held/?page=40", "decisions/"),
    *("cost/", "leaderboard/", "runs/", "quality/", "data/prompts/", "data/datasets/", "data/imports/", "data/export/"),
)


def fill(rows: int) -> str:
    """Make the project; return the session of its manager."""
    from django.utils import timezone

    from annotate.models import (
        Assignment,
        Comparison,
        Completion,
        Contestant,
        LanguageModel,
        Membership,
        Project,
        Prompt,
        Rating,
        User,
    )
    from common import splits

    project = Project.objects.create(slug=SLUG, name="Large", is_public=True)
    people = User.objects.bulk_create([User(username=f"person-{k}") for k in range(PEOPLE)])
    Membership.objects.bulk_create([Membership(project=project, user=one) for one in people[1:]])
    Membership.objects.create(project=project, user=people[0], role="manager")
    models = LanguageModel.objects.bulk_create(
        [LanguageModel(name=f"model-{k}", folder=f"models/{k}") for k in range(MODELS)]
    )
    Contestant.objects.bulk_create([Contestant(project=project, model=one) for one in models])
    count = max(rows // ROWS_OF_A_PROMPT, 10)
    for start in range(0, count, 10_000):
        asked = [[{"role": "user", "content": f"Question {k}: why?"}] for k in range(start, min(start + 10_000, count))]
        Prompt.objects.bulk_create(
            [Prompt(project=project, messages=m, text_hash=splits.text_hash(m), side="train") for m in asked]
        )
    first = Prompt.objects.order_by("pk").first()
    assert first is not None
    answer = Completion.objects.create(prompt=first, model=models[0], text="Because of the light. " * 10)
    _copies(Completion, answer.pk, "annotate_prompt p cross join annotate_languagemodel m", {
        "prompt_id": "p.id", "model_id": "m.id",
    })  # fmt: skip
    answer.delete()
    low = "(select min(id) from annotate_completion)"
    place = f"{low} + (g % {count}) * {MODELS}"
    prompt = f"(select min(id) from annotate_prompt) + g % {count}"
    author = f"{people[0].pk} + g % {PEOPLE}"
    when = "now() - (g % 31536000) * interval '1 second'"
    common = {"author_id": author, "status": "case when g % 100 = 0 then 'held' else 'counted' end", "created_at": when}
    answers = list(Completion.objects.order_by("pk")[:2])
    said = {"project": project, "prompt": answers[0].prompt, "author": people[0], "judge": "person"}
    rated = Rating.objects.create(**said, completion=answers[0], stars=4)
    _copies(Rating, rated.pk, f"generate_series(1, {rows // 2}) g", common | {
        "completion_id": f"{place} + g % {MODELS}",
        "prompt_id": prompt,
        "stars": "1 + g % 5",
    })  # fmt: skip
    pair = {
        "prompt_id": prompt,
        "completion_a_id": f"{place} + g % {MODELS}",
        "completion_b_id": f"{place} + (g + 1 + g / {MODELS} % {MODELS - 1}) % {MODELS}",
    }
    shown = {"completion_a": answers[0], "completion_b": answers[1]}
    item = Assignment.objects.create(
        project=project, user=people[0], kind="compare", prompt=answers[0].prompt, item="compare:0", state="submitted",
        expires_at=timezone.now(), closed_at=timezone.now(), **shown,
    )  # fmt: skip
    served = pair | {"user_id": author, "item": "'compare:' || g", "created_at": when, "closed_at": when}
    _copies(Assignment, item.pk, f"generate_series(1, {rows // 2}) g", served)
    compared = Comparison.objects.create(**said, **shown, winner="model_a")
    _copies(Comparison, compared.pk, f"generate_series(1, {rows // 2}) g", common | pair | {
        "assignment_id": f"{item.pk} + g",
        "winner": "(array['model_a', 'model_b', 'tie', 'both_bad'])[1 + g % 4]",
    })  # fmt: skip
    return _session(people[0])


def _copies(table: Any, pk: int, source: str, varying: Mapping[str, str]) -> None:
    """Write copies of one row, as many as `source` has, with other values in the columns of `varying`."""
    from django.db import connection

    columns = [field.column for field in table._meta.concrete_fields if not field.primary_key]
    known = {name: value for name, value in varying.items() if name in columns}
    values = ", ".join(known.get(name, f't."{name}"') for name in columns)
    name = table._meta.db_table
    names = ", ".join(f'"{column}"' for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"insert into {name} ({names}) select {values} from {name} t cross join {source} where t.id = {pk}"
        )


def _session(user: Any) -> str:
    from django.test import Client

    client = Client()
    client.force_login(user)
    return client.cookies["sessionid"].value


def do_in_background() -> None:
    """Do what the background worker does with figures that take longer than a page may."""
    from annotate.core.periodic_tasks import PERIODIC_TASKS

    for task in PERIODIC_TASKS.values():
        if task.name == "figures that take long":
            while task.do():
                pass


def pages(session: str, repeats: int) -> Iterator[tuple[str, int, float, int, tuple[float, str]]]:
    """Yield of each page: its address, status, median milliseconds, most queries, and its slowest query."""
    from django.db import connection
    from django.test import Client
    from django.test.utils import CaptureQueriesContext

    client = Client()
    client.cookies["sessionid"] = session
    for address in PAGES:
        path = f"/p/{SLUG}/{address}"
        status = client.get(path, follow=True).status_code
        if status == ACCEPTED:
            do_in_background()
            status = client.get(path, follow=True).status_code
        took = []
        for _ in range(repeats):
            began = time.perf_counter()
            client.get(path, follow=True)
            took.append(1000 * (time.perf_counter() - began))
        with CaptureQueriesContext(connection) as queries:
            client.get(path, follow=True)
        slowest = max(
            ((float(one["time"]) * 1000, one["sql"] or "") for one in queries.captured_queries), default=(0.0, "")
        )
        yield address, status, statistics.median(took), len(queries), slowest


def measure(rows: int, repeats: int) -> int:
    import django

    django.setup()
    kept = Path(os.environ["ASSAY_DATA"]) / "session"
    if not kept.exists():
        kept.write_text(_prepare(rows))
    session = kept.read_text()
    print("\n| page | status | ms | queries | slowest query, ms |\n|---|---|---|---|---|")
    slow = []
    for address, status, took, queries, slowest in pages(session, repeats):
        print(f"| /{address} | {status} | {took:.0f} | {queries} | {slowest[0]:.0f} |", flush=True)
        if took > GOAL_MS:
            slow.append((address, slowest))
    for address, (took, sql) in slow:
        print(f"\n/{address}, {took:.0f} ms: {sql[:1500]}")
    print(f"\n{len(slow)} of {len(PAGES)} pages take more than {GOAL_MS} ms; load {os.getloadavg()[0]:.1f}")
    return 0


def _prepare(rows: int) -> str:
    """Fill the database and compute what is kept of its rows; return the session of the project's manager."""
    from django.core.management import call_command
    from django.db import connection

    began = time.monotonic()
    session = fill(rows)
    print(f"{rows:,} annotations written in {time.monotonic() - began:.0f} s", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("analyze")
    for command in (["recount_votes"], ["recount_queue", SLUG]):
        began = time.monotonic()
        call_command(*command)
        print(f"{command[0]}: {time.monotonic() - began:.0f} s", flush=True)
    with connection.cursor() as cursor:
        cursor.execute("analyze")
    return session


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="annotations")
    parser.add_argument("--repeats", type=int, default=5, help="of each page")
    parser.add_argument("--keep", type=Path, help="a folder for the database, which is found filled the next time")
    options = parser.parse_args()
    if "ASSAY_BENCHMARK_PAGES" in os.environ:
        return measure(options.rows, options.repeats)
    # Here: `upgrade` has an older version call `fill`, which lacks them.
    from benchmarks.database import make_static, make_tables
    from tests.support.processes import ROOT
    from tests.support.servers import postgres

    with tempfile.TemporaryDirectory(prefix="assay-pages-") as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        with postgres(folder / "postgres", is_kept=options.keep is not None) as url:
            environment = os.environ | {
                "ASSAY_DATA": str(folder / "data"), "DATABASE_URL": url, "DEBUG": "0", "SECRET_KEY": "pages",
                "ALLOWED_HOSTS": "testserver", "DJANGO_SETTINGS_MODULE": "config.settings", "LOG_LEVEL": "WARNING",
                "ASSAY_BENCHMARK_PAGES": "1", "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1",
            }  # fmt: skip
            if not (folder / "data").exists():
                (folder / "data").mkdir()
                make_tables(environment)
                make_static(environment)
            return subprocess.call([sys.executable, "-m", "benchmarks.pages", *sys.argv[1:]], cwd=ROOT, env=environment)


if __name__ == "__main__":
    sys.exit(main())
