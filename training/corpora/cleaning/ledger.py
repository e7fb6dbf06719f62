"""Remember in one SQLite file which documents a corpus run has seen, and how far it is.

One transaction reaches from checkpoint to checkpoint, so that `kill -9` at any moment leaves the file as it was at
the last one, and what was seen never disagrees with how far reading is. Memory is SQLite's page cache, of a fixed
size; what does not fit into it goes to disk even before the commit.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_CACHE_KIB = 32 * 1024
_TABLES = """
create table if not exists state (id integer primary key check (id = 1), value text not null);
create table if not exists seen (digest blob primary key) without rowid;
create table if not exists document (id integer primary key, signature blob not null, start text not null);
create table if not exists band (key integer primary key, document integer not null);
"""


class Ledger:
    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("pragma journal_mode = delete")
        self._connection.execute("pragma synchronous = full")
        self._connection.execute(f"pragma cache_size = -{_CACHE_KIB}")
        self._connection.executescript(_TABLES)
        self._connection.execute("begin immediate")

    def state(self) -> dict[str, Any] | None:
        row = self._connection.execute("select value from state").fetchone()
        return json.loads(row[0]) if row else None

    def commit(self, state: dict[str, Any]) -> None:
        """Keep all that was remembered since the last time, and `state` with it."""
        self._connection.execute("replace into state values (1, ?)", (json.dumps(state, ensure_ascii=False),))
        self._connection.execute("commit")
        self._connection.execute("begin immediate")

    def close(self) -> None:
        self._connection.rollback()
        self._connection.close()

    def remember(self, digest: bytes) -> bool:
        """Return whether this is new."""
        return self._connection.execute("insert or ignore into seen values (?)", (digest,)).rowcount == 1

    def sharing(self, keys: Sequence[int]) -> Iterator[tuple[bytes, str]]:
        """Yield (signature, beginning) of the documents with one of these bands, the first seen first."""
        marks = ", ".join("?" * len(keys))
        yield from self._connection.execute(
            f"select signature, start from document where id in (select document from band where key in ({marks})) "
            "order by id",
            keys,
        ).fetchall()

    def add_document(self, signature: bytes, keys: Sequence[int], start: str) -> None:
        """Remember a document. A band that two documents share keeps the first: whoever resembles the second resembles
        that one too."""
        number = self._connection.execute(
            "insert into document (signature, start) values (?, ?)", (signature, start)
        ).lastrowid
        self._connection.executemany("insert or ignore into band values (?, ?)", [(key, number) for key in keys])
