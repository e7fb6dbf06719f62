"""Which tests Postgres repeats: together they make every statement."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

from tests.support.processes import ROOT
from tests.support.statements import NotedStatements, executed_statements, noted_statements, repeated

QUIET = ROOT / "tests/__init__.py"  # a module that speaks of no database


def item(nodeid: str, *fixtures: str, transaction: bool = False) -> Any:
    marks = {"database": True, "django_db": SimpleNamespace(args=(), kwargs={"transaction": transaction})}
    return SimpleNamespace(nodeid=nodeid, fixturenames=fixtures, get_closest_marker=marks.get, path=QUIET)


def executed(*statements: tuple[str, Any]) -> set[str]:
    """Return what is noted of statements that a database would execute."""
    cursor = SimpleNamespace(execute=lambda *_: None, executemany=lambda *_: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CursorWrapper, "execute", lambda self, sql, params=None: None)
        with executed_statements() as noted:
            for sql, params in statements:
                CursorWrapper(cursor, None).execute(sql, params)
    return noted


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("SELECT 1 LIMIT 21", None), ("SELECT 1 LIMIT 5", None)),
        (('SAVEPOINT "s140_x1"', None), ('SAVEPOINT "s977_x32"', None)),
        (("SELECT a WHERE b IN (%s, %s)", (1, 2)), ("SELECT a WHERE b IN (%s, %s, %s)", [3, 4, 5])),
        (("INSERT VALUES (%s, %s), (%s, %s)", (1, 2, 3, 4)), ("INSERT VALUES (%s, %s)", (1, 2))),
    ],
)
def test_numbers_and_lengths_make_no_other_statement(one, other):
    assert len(executed(one, other)) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("SELECT a WHERE b = %s", (1,)), ("SELECT a WHERE b = %s", ("1",))),  # Postgres may refuse the one
        (("SELECT a", None), ("SELECT b", None)),
        (("SELECT a FOR UPDATE", None), ("SELECT a", None)),
    ],
)
def test_other_words_or_types_do(one, other):
    assert len(executed(one, other)) == 2


def test_who_makes_nothing_new_is_left_out():
    noted = {"most": frozenset("abc"), "part": frozenset("ab"), "none": frozenset(), "other": frozenset("ad")}
    items = [item(name) for name in ("part", "none", "most", "other")]
    assert {one.nodeid for one in repeated(hashable(items), noted)} == {"most", "other"}


def test_who_was_not_noted_or_has_transactions_is_always_repeated():
    noted = {name: frozenset("a") for name in ("plain", "own", "live", "another")}
    own = [item("own", transaction=True), item("live", "transactional_db")]
    items = [item("unknown"), item("plain"), *own, item("another")]
    assert {one.nodeid for one in repeated(hashable(items), noted)} == {"unknown", "own", "live"}


def test_all_of_a_module_that_speaks_of_postgres_is_repeated(tmp_path: Path):
    module = tmp_path / "test_locks.py"
    module.write_text("# Postgres alone waits here\n")
    items = hashable([item("plain"), item("locks")])
    items[1].path = module
    assert {one.nodeid for one in repeated(items, {"plain": frozenset("a"), "locks": frozenset()})} == {
        "plain",
        "locks",
    }


def hashable(items: list[Any]) -> list[Any]:
    class Item(SimpleNamespace):
        __hash__ = object.__hash__  # type: ignore[assignment]

    return [Item(**vars(one)) for one in items]


def test_what_processes_note_of_tests_that_passed_is_read_together(tmp_path: Path):
    for process, test, has_passed in (("gw0", "one", True), ("gw1", "two", True), ("gw1", "skipped there", False)):
        plugin = NotedStatements(tmp_path, process)
        noting = plugin.pytest_runtest_protocol(item(test))
        next(noting)
        plugin.pytest_runtest_logreport(SimpleNamespace(when="call", passed=has_passed))
        plugin.pytest_runtest_logreport(SimpleNamespace(when="teardown", passed=True))
        with pytest.raises(StopIteration):
            noting.send(None)
    assert noted_statements(tmp_path) == {"one": frozenset(), "two": frozenset()}
    assert [json.loads(line) for line in (tmp_path / "gw0.jsonl").read_text().splitlines()] == [["one", []]]
