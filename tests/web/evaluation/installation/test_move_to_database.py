"""`manage.py move_to_database`: all rows, each the same, or none; and a row that does not fit is named."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.db.migrations.loader import MigrationLoader
from django.test import testcases

from annotate.models import Completion, Project, Rating
from evaluation.installation.database_move import moving, row_copy, target_database
from evaluation.installation.database_move.row_sums import RowSum, canonical
from tests.support.evaluation.small_installation import Installation
from tests.support.factories import make_completion, make_prompt, make_rating
from tests.support.servers import postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow, pytest.mark.thorough]  # migrates a Postgres
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server(django_db_setup):
    """The address of a Postgres server: that of the tests, or one of its own where they run on SQLite."""
    if connection.vendor == "postgresql":
        yield os.environ["DATABASE_URL"]
    else:
        with tempfile.TemporaryDirectory(prefix="assay-") as folder, postgres(Path(folder) / "postgres") as url:
            yield url


def database_on(server: str, name: str, template: str = "template1") -> str:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlsplit(server)._replace(path=f"/{name}").geturl()


@pytest.fixture(scope="module")
def template(server, tmp_path_factory):
    """A database that the command itself has migrated."""
    url = database_on(server, "moved_template")
    os.environ["ASSAY_DATA"], before = str(tmp_path_factory.mktemp("data")), os.environ.get("ASSAY_DATA")
    try:
        target_database.migrate(url)
    finally:
        os.environ.pop("ASSAY_DATA")
        if before is not None:
            os.environ["ASSAY_DATA"] = before
    return "moved_template"


class _WithoutTarget:
    """Django lets a test open connections that are made on the way; ours is listed while it is open."""

    def __contains__(self, alias):
        return alias != target_database.ALIAS and alias in connections

    def __getattr__(self, name):
        return getattr(connections, name)

    def __getitem__(self, alias):
        return connections[alias]

    def __iter__(self):
        return iter(connections)


@pytest.fixture(autouse=True)
def _target_may_be_opened(monkeypatch, transactional_db):
    monkeypatch.setattr(testcases, "connections", _WithoutTarget())


@pytest.fixture
def target(server, template):
    """A new migrated database without rows."""
    return database_on(server, f"moved_{next(_numbers)}", template)


def rows_in(url: str, table: str) -> int:
    with psycopg.connect(url) as there:
        return there.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]


def odd_values(installation: Installation) -> Completion:
    """Store what databases write in ways of their own."""
    sampling = {"temperature": 1e16, "b": [1.0, 0.1, 1e300, None]}
    text, prompt = "Ünï 😀 \t\\N \\. \"quoted\" 'x'\r\n", make_prompt(installation.project)
    answer = make_completion(prompt, text, model=installation.model, sampling=sampling)
    model = installation.model
    model.prompt_price, model.card = Decimal("0.150000"), {"z": 1, "a": {"ü": True}}
    model.save()
    rating = make_rating(answer, thumbs=None, stars=5)
    Rating.objects.filter(pk=rating.pk).update(created_at=datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=UTC))
    return answer


def test_all_rows_are_there_and_equal_and_numbers_go_on(installation, target, manage, data_folder, capsys):
    answer = odd_values(installation)
    call_command("move_to_database", target)
    out = capsys.readouterr().out
    assert f"annotate_completion: {Completion.objects.count():,} rows, equal (" in out and "are moved and equal" in out
    done = manage("verify", data=data_folder, database=target)
    assert done.stdout.endswith("Rows, files and counts agree.\n"), done.stderr
    looked = manage(data=data_folder, database=target, code=LOOK.format(pk=answer.pk))
    assert looked.returncode == 0, looked.stderr
    text, sampling, is_new = eval(looked.stdout)
    assert (text, is_new) == (answer.text, True)
    assert canonical(sampling, True) == canonical(answer.sampling, True)  # Postgres writes 1e16 with all its zeros
    with pytest.raises(CommandError, match="The target has rows in annotate_assignment"):
        call_command("move_to_database", target)


LOOK = """
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from annotate.models import Completion, Project
found = Completion.objects.get(pk={pk})
before = set(Project.objects.values_list("pk", flat=True))
print(repr((found.text, found.sampling, Project.objects.create(slug="more", name="More").pk not in before)))
"""


def test_what_was_killed_at_its_end_has_moved_nothing_and_goes_next_time(installation, target, manage, data_folder):
    killed = manage(data=data_folder, code=KILLED.format(target=target))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert rows_in(target, "annotate_prompt") == 0
    call_command("move_to_database", target)
    assert rows_in(target, "annotate_prompt") > 0


KILLED = """
import os, signal, django
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
django.setup()
from django.core.management import call_command
from evaluation.installation.database_move import moving
moving._add = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
call_command("move_to_database", {target!r})
"""


def test_a_row_that_changed_on_the_way_is_named_and_nothing_is_moved(installation, target, monkeypatch):
    usual = row_copy._prepared

    def spoiling(field, value, database):
        return "another" if field.name == "slug" else usual(field, value, database)

    monkeypatch.setattr(row_copy, "_prepared", spoiling)
    pk, slug = installation.project.pk, installation.project.slug
    with pytest.raises(CommandError, match=f"annotate_project, row {pk}: slug is '{slug}' here, and 'another' in"):
        call_command("move_to_database", target)
    assert rows_in(target, "annotate_project") == rows_in(target, "annotate_prompt") == 0


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="Postgres would not have taken the row in the first place")
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda pk: Completion.objects.filter(pk=pk).update(finish_reason="long " * 500),
            "annotate_completion, row {pk} .finish_reason.: Postgres does not take it: value too long",
        ),
        (
            lambda pk: Completion.objects.filter(pk=pk).update(text="a\x00b"),
            "annotate_completion, row {pk}: Postgres does not take it: .*NUL",
        ),
    ],
)
def test_a_row_that_postgres_does_not_take_is_named(spoil, message, installation, target):
    pk = list(Completion.objects.order_by("pk").values_list("pk", flat=True))[1]
    spoil(pk)
    with pytest.raises(CommandError, match=message.format(pk=pk)):
        call_command("move_to_database", target)
    assert rows_in(target, "annotate_prompt") == 0


def test_rows_that_point_at_nothing_are_refused(installation, target, monkeypatch):
    def none_of_projects(usual):
        return lambda table, other: RowSum() if table is Project else usual(table, other)

    monkeypatch.setattr(moving, "copy_rows", none_of_projects(row_copy.copy_rows))
    monkeypatch.setattr(moving, "sum_in", none_of_projects(row_copy.sum_in))
    with pytest.raises(CommandError, match=r"(?s)points at rows that are not there: .*Nothing was moved"):
        call_command("move_to_database", target)
    assert rows_in(target, "annotate_prompt") == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:////tmp/x", "Rows are moved to Postgres"),
        ("nonsense", "is no address of a database|Rows are moved to Postgres"),
        ("postgres://127.0.0.1:1/none", "The database does not answer"),
    ],
)
def test_an_address_that_is_none_is_refused(url, message):
    with pytest.raises(CommandError, match=message):
        call_command("move_to_database", url)
    assert target_database.ALIAS not in django_settings.DATABASES


def test_tables_of_another_version_are_refused(installation, target, monkeypatch):
    ((_, last),) = MigrationLoader(None).graph.leaf_nodes("evaluation")
    with psycopg.connect(target, autocommit=True) as there:
        there.execute("DELETE FROM django_migrations WHERE app = 'evaluation' AND name = %s", [last])
    with pytest.raises(CommandError, match=rf"The target lacks evaluation\.{last}: drop it"):
        call_command("move_to_database", target)


def test_one_form_of_a_value_for_both_databases():
    assert canonical({"b": 1e16, "a": [1.0, 0.1]}, True) == canonical({"a": [1, 0.1], "b": 10**16}, True)
    assert canonical({"a": 1e300}, True) == canonical({"a": 10**300}, True)
    assert canonical({"a": 2**60 + 1}, True) != canonical({"a": 2**60}, True)
    assert canonical(Decimal("0.150000")) == canonical(Decimal("0.15"))
    assert canonical(memoryview(b"x")) == canonical(b"x")
    assert canonical(timedelta(seconds=1)) == 1_000_000
    assert canonical(UUID(int=1)) == "0" * 31 + "1"
    one, other = RowSum(), RowSum()
    for values in ([1, "a"], [2, "b"]):
        one.add(values, [False, False])
    for values in ([2, "b"], [1, "a"]):
        other.add(values, [False, False])
    assert one == other
    other.add([1, "a"], [False, False])
    assert one != other
