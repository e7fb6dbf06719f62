"""Foreign keys of many new rows, checked at once on Postgres."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from annotate.core.db import key_checks
from annotate.data.imports.sinks import Database
from annotate.models import Completion
from tests.support.factories import make_prompt

pytestmark = pytest.mark.django_db
COLUMNS = ("prompt_id", "text", "text_hash")


def add(keys: list[int], sink: Database | None = None) -> list[int]:
    rows = [(key, f"An answer {n}.", "") for n, key in enumerate(keys)]
    return (sink or Database()).add(Completion, [str(n) for n in range(len(rows))], COLUMNS, rows, source="s")


def check_now() -> None:
    connection.check_constraints()


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(key_checks, "_FEW", 2)


def test_rows_whose_keys_point_at_rows_are_written(project):
    prompt = make_prompt(project)
    add([prompt.pk] * 3)
    check_now()
    assert Completion.objects.filter(prompt=prompt).count() == 3


def test_rows_whose_keys_point_at_nothing_are_refused(project):
    prompt = make_prompt(project)
    with pytest.raises(IntegrityError), transaction.atomic():
        add([prompt.pk, prompt.pk + 1000, prompt.pk])
        check_now()
    assert not Completion.objects.exists()


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite checks keys in its own way")
def test_postgres_is_asked_once_and_then_checks_by_itself_again(project, django_assert_num_queries):
    prompt, sink = make_prompt(project), Database()
    add([prompt.pk] * 3, sink)
    with django_assert_num_queries(4):  # keys, checks off, COPY, checks on: the prompt is known already
        add([prompt.pk] * 3, sink)
    with pytest.raises(IntegrityError), transaction.atomic():
        Completion.objects.create(prompt_id=prompt.pk + 1000, text="An answer.")
        check_now()


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite checks keys in its own way")
def test_what_was_known_in_a_part_that_was_undone_is_asked_again(project):
    sink = Database()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        prompt = make_prompt(project)
        assert add([prompt.pk] * 3, sink)
        raise ZeroDivisionError
    sink.begin()
    with pytest.raises(IntegrityError), transaction.atomic():
        add([prompt.pk] * 3, sink)


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite checks keys in its own way")
@pytest.mark.parametrize("obstacle", ["a role without the right", "a trigger of the operator's"])
def test_postgres_checks_each_key_where_it_may_not_be_told_otherwise(project, obstacle):
    prompt = make_prompt(project)
    with connection.cursor() as cursor:
        if obstacle == "a role without the right":
            cursor.execute("CREATE ROLE plain; GRANT ALL ON ALL TABLES IN SCHEMA public TO plain")
            cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO plain; SET LOCAL ROLE plain")
        else:
            cursor.execute(
                "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER "
                "noted BEFORE INSERT ON annotate_prompt FOR EACH ROW EXECUTE FUNCTION noted()"
            )
    add([prompt.pk] * 3)
    with pytest.raises(IntegrityError), transaction.atomic():
        add([prompt.pk + 1000] * 3)
        check_now()
