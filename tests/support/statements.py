"""Repeat on Postgres every statement, and not every test.

On SQLite (`pytest --note-statements=FOLDER`) each test notes which statements it had the database execute. On Postgres
(`--new-statements=FOLDER`) a test is left out if each of its statements was already made by one that is repeated.
Repeated in any case: tests of which nothing was noted, those with transactions of their own, where it matters who waits
for whom, and all of modules that speak of Postgres, which may do there what has no statement on SQLite.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db.backends.utils import CursorWrapper

_OWN_TRANSACTIONS = {"transactional_db", "live_server"}


class NotedStatements:
    """Plug into pytest: write to `folder` what each test has executed, a line of JSON each."""

    def __init__(self, folder: Path, process: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / f"{process}.jsonl").open("a", encoding="utf-8")
        self._has_passed = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._has_passed = False
        with executed_statements() as statements:
            done = yield
        if self._has_passed and item.get_closest_marker("database"):
            self._file.write(json.dumps([item.nodeid, sorted(statements)]) + "\n")
            self._file.flush()
        return done

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """What SQLite skips is not noted, and so always repeated."""
        if report.when == "call":
            self._has_passed = report.passed


@contextmanager
def executed_statements() -> Iterator[set[str]]:
    """Collect the statements that this process executes, by whatever connection."""
    statements: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("execute", "executemany"):
            patch.setattr(CursorWrapper, name, _noting(getattr(CursorWrapper, name), statements))
        yield statements


def _noting(execute: Any, statements: set[str]) -> Any:
    @functools.wraps(execute)
    def noted(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        how = "failed"
        try:
            done = execute(self, sql, params)
            how = _types(params)
            return done
        finally:
            statements.add(_digest(str(sql), how))

    return noted


def _types(params: Any) -> str:
    """Return the types of the values: Postgres compares no text with a number."""
    values = params.values() if isinstance(params, Mapping) else params if isinstance(params, list | tuple) else ()
    return " ".join(sorted({type(value).__name__ for value in values}))


@functools.lru_cache(20_000)
def _digest(sql: str, how: str) -> str:
    """Return the same for statements that differ in numbers, names of savepoints and the lengths of lists alone."""
    shape = re.sub(r"\bs\d+_x\d+\b", "savepoint", sql)
    shape = re.sub(r"\d+", "N", shape)
    shape = re.sub(r"%s(?:, ?%s)+", "%s…", shape)
    shape = re.sub(r"(\(%s…?\))(?:, ?\1)+", r"\1", shape)
    return hashlib.sha1(f"{shape}\n{how}".encode(), usedforsecurity=False).hexdigest()[:12]


def noted_statements(folder: Path) -> dict[str, frozenset[str]]:
    """Return the statements of each test that has passed, by its id."""
    lines = [line for file in sorted(folder.glob("*.jsonl")) for line in file.read_text(encoding="utf-8").splitlines()]
    return {test: frozenset(statements) for test, statements in map(json.loads, lines)}


def repeated(items: Iterable[pytest.Item], noted: Mapping[str, frozenset[str]]) -> set[pytest.Item]:
    """Return those of the tests that together make all statements which any of them makes, and those always repeated.

    Tests that make the most come first: fewest are needed then.
    """
    items = list(items)
    always = [
        item
        for item in items
        if item.nodeid not in noted or _has_own_transactions(item) or _speaks_of_postgres(item.path)
    ]
    made = set[str]().union(*(noted.get(item.nodeid, ()) for item in always))
    chosen = set(always)
    for item in sorted(items, key=lambda item: -len(noted.get(item.nodeid, ()))):
        if item not in chosen and not noted[item.nodeid] <= made:
            chosen.add(item)
            made |= noted[item.nodeid]
    return chosen


def _has_own_transactions(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    asked = marker is not None and marker.kwargs.get("transaction", bool(marker.args and marker.args[0]))
    return bool(asked or _OWN_TRANSACTIONS & set(getattr(item, "fixturenames", ())))


@functools.cache
def _speaks_of_postgres(module: Path) -> bool:
    return "postgres" in module.read_text(encoding="utf-8").lower()
