"""Write new rows into the database, or, in a dry run, only count them.

Both give every new row a key, so that what comes later can point at it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Protocol

from django.db import models

from annotate.core.db.key_checks import KeyChecks
from annotate.data.imports import bulk_insert as bulk
from annotate.data.prompts.actions import fill_answers
from annotate.models.queue import QueueChange

Rows = Sequence[tuple[Any, ...]]


class Sink(Protocol):
    def begin(self) -> None:
        """Begin a transaction, or a part of one that may be undone alone."""

    def add(
        self, table: type[models.Model], names: Sequence[str], columns: Sequence[str], rows: Rows, **constants: Any
    ) -> list[int]:
        """Return the keys of the rows, in order. `names` identify the rows, and differ within one call."""

    def tell_queue(self, project: int, prompts: Sequence[int], *, only_adds: bool) -> None:
        """Note that there is more to annotate of these prompts; with `only_adds`, and nothing less."""

    def fill_answers(self, answers: dict[int, str]) -> None:
        """Give prompts that stand their right answers, by key, where they have none."""

    def known(self, table: type[models.Model], names: Sequence[str]) -> dict[str, int]:
        """Return those of the names that this sink, and not the database, has seen: the keys that it gave them."""


class Database:
    """Call it inside a transaction."""

    def __init__(self) -> None:
        self._keys = KeyChecks()

    def begin(self) -> None:
        self._keys.begin()

    def add(
        self, table: type[models.Model], names: Sequence[str], columns: Sequence[str], rows: Rows, **constants: Any
    ) -> list[int]:
        if not rows:
            return []
        ids = bulk.new_ids(table, len(rows))
        with self._keys.checked(table, columns, rows, constants):
            bulk.insert(table, ["id", *columns], [(pk, *row) for pk, row in zip(ids, rows, strict=True)], **constants)
        self._keys.note_new(table, ids)
        return ids

    def tell_queue(self, project: int, prompts: Sequence[int], *, only_adds: bool) -> None:
        QueueChange.note(project, prompts, only_adds=only_adds)

    def fill_answers(self, answers: dict[int, str]) -> None:
        fill_answers(answers)

    def known(self, table: type[models.Model], names: Sequence[str]) -> dict[str, int]:
        return {}  # they stand in the database


class Nowhere:
    """A sink in a file of its own, which nobody sees and which is deleted with it, that knows what the rows so far
    would be."""

    def __init__(self) -> None:
        self._seen = sqlite3.connect("", check_same_thread=False)
        self._seen.execute("CREATE TABLE seen (name TEXT PRIMARY KEY, id INTEGER) WITHOUT ROWID")
        self._last = 0

    def begin(self) -> None:
        """Do nothing: nothing is undone."""

    def add(
        self, table: type[models.Model], names: Sequence[str], columns: Sequence[str], rows: Rows, **constants: Any
    ) -> list[int]:
        ids = [self._last - n for n in range(1, len(rows) + 1)]  # below nought, where no key of the database is
        self._last -= len(rows)
        named = [(f"{table.__name__} {name}", pk) for name, pk in zip(names, ids, strict=True)]
        self._seen.executemany("INSERT INTO seen VALUES (?, ?)", named)
        return ids

    def tell_queue(self, project: int, prompts: Sequence[int], *, only_adds: bool) -> None:
        """Do nothing: nothing has come."""

    def fill_answers(self, answers: dict[int, str]) -> None:
        """Do nothing: nothing stands."""

    def known(self, table: type[models.Model], names: Sequence[str]) -> dict[str, int]:
        keys = {}
        for name in names:
            row = self._seen.execute("SELECT id FROM seen WHERE name = ?", [f"{table.__name__} {name}"]).fetchone()
            if row:
                keys[name] = row[0]
        return keys
