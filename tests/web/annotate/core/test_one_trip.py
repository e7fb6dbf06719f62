"""Statements that go to Postgres together: what comes back, what fails, and what a transaction keeps of it."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, NotSupportedError, OperationalError, connection, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext

from annotate.core.db.prepared import Asked, ask, ask_at_commit, ask_with_next
from annotate.core.db.prepared_writes import insert, insert_at_commit
from annotate.core.errors import Refused
from annotate.data.imports import bulk_insert
from annotate.models import FirstAnswer

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no trips"),
]
TRIPS = "annotate.core.db.postgres.one_trip"
KEYS = Asked("SELECT key FROM annotate_firstanswer ORDER BY key", [])


def first(key: str) -> Asked:
    return insert(FirstAnswer(who="me", key=key, request_hash="h", status=201, body={"key": key}))


def keys() -> list[str]:
    return [key for (key,) in ask(KEYS)[0]]


def test_they_belong_to_the_transaction_that_they_begin():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ask(first("a"), first("b"))
        assert keys() == ["a", "b"]
        _ = 1 / 0
    assert keys() == []
    ask(first("c"))  # without one, they are kept at once
    connection.close()
    assert keys() == ["c"]


def test_what_stands_behind_one_that_fails_is_not_run_and_the_connection_goes_on():
    for _ in range(2):  # its plan is new, and then known
        with pytest.raises(IntegrityError), transaction.atomic():
            ask(first("a"), first("a"), Asked("SELECT pg_notify('never', 'sent')", []))
        with pytest.raises(IntegrityError):
            ask(first("a"), first("a"))
        assert keys() == []
    ask(first("a"))
    assert keys() == ["a"]


def test_a_statement_that_cannot_be_planned_leaves_no_plan_behind():
    wrong = Asked("SELECT nothing_like_it FROM annotate_firstanswer WHERE id = %s", [1])
    for _ in range(2):
        with pytest.raises(Exception, match="nothing_like_it"):
            ask(wrong, KEYS)
    assert keys() == []


def test_a_plan_that_a_migration_has_made_wrong_fails_once_and_is_made_anew():
    """An old version goes on serving while a migration widens a column."""
    texts = Asked("SELECT text FROM widened WHERE text = %s", ["a"])
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE widened (text varchar(5))")
        cursor.execute("INSERT INTO widened VALUES ('a')")
    try:
        assert ask(texts) == [[("a",)]]
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE widened ALTER text TYPE varchar(9)")
        with pytest.raises(NotSupportedError):
            ask(first("a"), texts, KEYS)
        assert ask(texts, KEYS) == [[("a",)], []]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE widened")


def test_plans_stay_when_a_transaction_is_rolled_back_whose_statements_somebody_counted():
    ask(KEYS)
    with pytest.raises(ZeroDivisionError), transaction.atomic(), CaptureQueriesContext(connection):
        for _ in range(5):
            ask(KEYS)
        _ = 1 / 0
    assert keys() == []


def test_more_statements_than_plans_are_kept_are_answered_all_the_same(monkeypatch):
    connection.close()
    monkeypatch.setattr(f"{TRIPS}.MOST_PLANS", 1)
    for n in (1, 40_000, 3_000_000_000):
        assert ask(KEYS, Asked("SELECT %s + 1", [n]), Asked("SELECT %s - 1", [n])) == [[], [(n + 1,)], [(n - 1,)]]


def test_a_connection_that_ends_is_an_error_and_the_next_one_works():
    with pytest.raises(OperationalError):
        ask(Asked("SELECT pg_terminate_backend(pg_backend_pid())", []), KEYS)
    connection.close()
    assert keys() == []


def test_the_last_statement_goes_with_the_commit():
    with transaction.atomic():
        ask(first("a"))
        ask_at_commit(first("b"))
        assert keys() == ["a"]
    assert keys() == ["a", "b"]
    connection.close()
    assert keys() == ["a", "b"]


def test_a_row_whose_id_is_known_goes_with_the_commit():
    with transaction.atomic():
        ((pk,),) = ask(Asked("SELECT nextval(pg_get_serial_sequence('annotate_firstanswer', 'id'))", []))[0]
        row = FirstAnswer(pk=pk, who="me", key="a", request_hash="h", status=201, body={})
        insert_at_commit(row, Asked("SELECT pg_notify('before', %s)", ["it"]))
        assert keys() == []
    ask(first("b"))
    row.request_hash = "changed"
    row.save()
    assert [row.request_hash for row in FirstAnswer.objects.order_by("key")] == ["changed", "h"]
    assert FirstAnswer.objects.get(key="a").pk == pk


def test_what_fails_at_the_commit_leaves_nothing_of_the_transaction():
    ask(first("b"))
    with pytest.raises(IntegrityError), transaction.atomic():
        ask(first("a"))
        ask_at_commit(first("b"))
    assert keys() == ["b"]


def test_what_was_to_go_with_a_commit_is_gone_with_the_rollback():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ask_at_commit(first("a"))
        _ = 1 / 0
    with transaction.atomic():
        ask(first("b"))
    assert keys() == ["b"]


def test_within_another_transaction_it_is_run_at_once():
    with transaction.atomic():
        with transaction.atomic():
            ask_at_commit(first("a"))
        assert keys() == ["a"]


def test_what_is_held_runs_before_what_is_asked_next():
    read: list[object] = []
    with transaction.atomic():
        ask_with_next(first("a"), read.append)
        assert read == []
        assert keys() == ["a"] and len(read) == 1
    assert keys() == ["a"] and len(read) == 1


def test_what_is_held_runs_before_a_statement_of_djangos_and_before_the_commit():
    for n, look in enumerate([FirstAnswer.objects.count, lambda: None]):
        read: list[object] = []
        with transaction.atomic():
            ask_with_next(first(str(n)), read.append)
            look()
            ask_at_commit(first(f"{n} at last"))
        assert len(read) == 1
    assert keys() == ["0", "0 at last", "1", "1 at last"]


def test_a_part_of_a_transaction_that_is_undone_leaves_what_was_held_before_it():
    with transaction.atomic():
        ask_with_next(first("a"), list)
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            ask_with_next(first("b"), list)
            _ = 1 / 0
    assert keys() == ["a"]


def refuse(rows: object) -> None:
    raise Refused(409, key="It is there.")


def test_what_is_refused_as_it_ends_leaves_nothing_of_the_transaction():
    for ending in (list, keys):
        with pytest.raises(Refused), transaction.atomic():
            ask(first("a"))
            ask_with_next(first("b"), refuse)
            ending()
        assert keys() == []


def test_what_was_held_is_gone_with_the_rollback():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        ask_with_next(first("a"), list)
        _ = 1 / 0
    with transaction.atomic():
        ask(first("b"))
    assert keys() == ["b"]


def test_what_is_held_runs_before_rows_that_are_copied():
    columns = ["who", "key", "request_hash", "status", "body"]
    with transaction.atomic():
        ask_with_next(first("a"), list)
        bulk_insert.insert(FirstAnswer, columns, [("me", "b", "h", 201, "{}")])
    assert list(FirstAnswer.objects.order_by("pk").values_list("key", flat=True)) == ["a", "b"]


def test_what_was_to_follow_a_commit_that_is_refused_follows_no_other():
    followed: list[int] = []
    with pytest.raises(Refused), transaction.atomic():
        transaction.on_commit(lambda: followed.append(1))
        ask_with_next(first("a"), refuse)
    with transaction.atomic():
        ask(first("b"))
    assert keys() == ["b"] and followed == []


@pytest.mark.parametrize("hold", [ask_at_commit, lambda statement: ask_with_next(statement, list)])
def test_nothing_is_held_for_the_next_transaction_where_the_connection_is_gone(hold):
    with pytest.raises(TransactionManagementError), transaction.atomic():
        connection.close()
        hold(first("a"))
    with transaction.atomic():
        ask(first("b"))
    assert keys() == ["b"]
