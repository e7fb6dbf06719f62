"""Real workers are killed with -9 in the midst of an import: no row twice, none left out, whoever goes on."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.processes import until
from tests.support.servers import postgres
from tests.support.sites.background_site import BackgroundSite, background_site, kill

pytestmark = pytest.mark.slow
ROWS = 12_000


@pytest.fixture(params=["SQLite", "Postgres"])
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BackgroundSite]:
    code = (
        "from annotate.models import *; by = User.objects.create(username='boss', is_superuser=True); "
        "Project.objects.create(slug='here', name='Here')"
    )
    with ExitStack() as servers:
        url = servers.enter_context(postgres(tmp_path / "postgres")) if request.param == "Postgres" else ""
        site = servers.enter_context(background_site(tmp_path, url))
        site.manage("shell", "-v0", "-c", code)
        yield site


def start_worker(site: BackgroundSite) -> subprocess.Popen:
    return site.start("manage.py", "run_background_worker", "--only", "imports")


def let_lease_run_out(site: BackgroundSite) -> None:
    site.query("UPDATE annotate_import SET claimed_until = '2000-01-01 00:00:00' WHERE state = 'running'")


def lines_of(site: BackgroundSite) -> int:
    return site.query("SELECT lines FROM annotate_import")[0][0]


def queue(site: BackgroundSite, rows: int) -> None:
    path = site.folder / "rows.jsonl"
    with path.open("w") as file:
        for n in range(rows):
            file.write(json.dumps({"prompt": f"Question {n}?", "chosen": f"Good {n}", "rejected": f"Bad {n}"}) + "\n")
    site.manage("import_feedback", str(path), "--project", "here", "--queue")


def check(site: BackgroundSite, rows: int) -> None:
    until(lambda: site.query("SELECT state FROM annotate_import")[0][0] == "done", 120, "the import is done")
    tables = ("prompt", "completion", "comparison")
    assert [site.query(f"SELECT count(*) FROM annotate_{table}")[0][0] for table in tables] == [rows, 2 * rows, rows]
    counts = json.loads(site.query("SELECT CAST(counts AS TEXT) FROM annotate_import")[0][0])
    assert counts["comparisons"] == rows and not counts.get("already") and not counts.get("bad")


@pytest.mark.thorough
def test_killed_three_times_at_any_moment(site: BackgroundSite):
    queue(site, ROWS)
    lot = random.Random(5)
    for part in (0.1, 0.35, 0.6):
        worker = start_worker(site)
        until(lambda part=part: lines_of(site) > part * ROWS, 120, f"{part:.0%} is read")
        time.sleep(lot.uniform(0, 0.3))
        kill(worker)
        let_lease_run_out(site)
    assert lines_of(site) < ROWS
    start_worker(site)
    check(site, ROWS)


@pytest.mark.thorough
def test_one_of_two_background_workers_is_killed_and_one_is_asked_to_end(site: BackgroundSite):
    queue(site, ROWS)
    first, second = start_worker(site), start_worker(site)
    until(lambda: lines_of(site) > 0.2 * ROWS, 120, "a fifth is read")
    kill(first)
    let_lease_run_out(site)
    until(lambda: lines_of(site) > 0.5 * ROWS, 120, "half is read")
    second.terminate()
    assert second.wait(20) == 0  # and gave back what it held: nobody has to wait for a lease
    start_worker(site)
    check(site, ROWS)
