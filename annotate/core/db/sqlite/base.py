"""Let writers take turns.

SQLite has one write lock, and whoever finds it taken sleeps for up to 100 ms and looks again, so that of many some wait
for seconds while others come and go. In one process they stand in line instead, and the first in it looks often:
between two processes a turn is waited for no longer than a few transactions. A statement that writes by itself, outside
a transaction, stands in the same line. How long each has the lock is noted (lock_holds.py).
"""

from __future__ import annotations

import itertools
import logging
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from django.db import OperationalError
from django.db.backends.sqlite3 import base

from annotate.core.db import interpreter_turns
from annotate.core.db.sqlite import lock_holds
from annotate.core.metrics.counters import timed_wait

WRITES = {"INSERT", "UPDATE", "DELETE", "REPLAC"}  # the first six letters
_LOCKED = (OperationalError, sqlite3.OperationalError)  # Django's, and what it makes it of
FIRST_LOOKS, SHORT, LONG = 200, 0.001, 0.01  # seconds between two looks, while another process writes
CHECKPOINT_EVERY = 25  # commits of this process; some twenty pages each, where SQLite's limit is 4,000 (settings.py)

log = logging.getLogger("assay.database")


class Line:
    """Let threads in one at a time, first come, first served."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def enter(self, seconds: float) -> bool:
        """Return whether it is our turn; False when it did not come in time."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            lock = threading.Lock()
            lock.acquire()
            self._waiting.append(lock)
        if lock.acquire(timeout=seconds):
            return True
        with self._guard:
            if lock not in self._waiting:  # it came at the last moment
                return True
            self._waiting.remove(lock)
            return False

    def leave(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


interpreter_turns.shorten()
_line, _commits = Line(), itertools.count(1)
os.register_at_fork(after_in_child=_line.__init__)  # type: ignore[misc] # whoever stood in it is not in the child


class Cursor(base.SQLiteCursorWrapper):
    """A cursor whose single writing statements stand in line, as transactions do."""

    wrapper: DatabaseWrapper

    def execute(self, query: str, params: Any = None) -> Any:
        if not self._writes_alone(query):
            return super().execute(query, params)
        return self.wrapper.write_alone(lambda: base.SQLiteCursorWrapper.execute(self, query, params))

    def executemany(self, query: str, param_list: Any) -> Any:
        if not self._writes_alone(query):
            return super().executemany(query, param_list)
        rows = list(param_list)  # it may be asked for again
        return self.wrapper.write_alone(lambda: base.SQLiteCursorWrapper.executemany(self, query, rows))

    def _writes_alone(self, query: str) -> bool:
        return not self.connection.in_transaction and query.lstrip()[:6].upper() in WRITES


class DatabaseWrapper(base.DatabaseWrapper):
    _has_turn = False
    _held_since, _computed_before, _held_from = 0.0, 0.0, ""
    _slow_write_seconds = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._slow_write_seconds = conn_params.pop("slow_write_seconds", 0.0)
        return super().get_new_connection(conn_params)

    def create_cursor(self, name: str | None = None) -> Any:
        cursor: Any = self.connection.cursor(factory=Cursor)
        cursor.wrapper = self
        return cursor

    def write_alone(self, execute: Callable[[], Any]) -> Any:
        """Run one statement that is a transaction of its own, when its turn has come."""
        turn = self._take_turn(execute)
        self._end_turn()
        self._checkpoint_now_and_then()
        return turn

    def _start_transaction_under_autocommit(self) -> None:
        self._take_turn(super()._start_transaction_under_autocommit)  # type: ignore[misc] # the stubs leave it out

    def _take_turn(self, begin: Callable[[], Any]) -> Any:
        """Stand in line, then call `begin` until no other process writes; return what it returns. The turn is ours
        after it.

        Raises OperationalError when the turn did not come within the option `timeout`.
        """
        patience = float(self.settings_dict["OPTIONS"].get("timeout", 5.0))
        until = time.monotonic() + patience
        with timed_wait("write_lock"):
            if not _line.enter(patience):
                raise OperationalError("database is locked")
            self._has_turn, self._held_from = True, lock_holds.place()
            try:
                return self._when_free(begin, until)
            except BaseException:
                self._end_turn()
                raise

    def _when_free(self, begin: Callable[[], Any], until: float) -> Any:
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            for looks in range(1 << 30):
                began = time.monotonic()
                try:
                    result = begin()
                    self._held_since, self._computed_before = began, time.thread_time()
                    return result
                except _LOCKED as error:
                    if "locked" not in str(error) or time.monotonic() > until:
                        raise
                time.sleep(SHORT if looks < FIRST_LOOKS else LONG)
        finally:
            patience = self.settings_dict["OPTIONS"].get("timeout", 5.0)
            self.connection.execute(f"PRAGMA busy_timeout = {int(1000 * patience)}")

    def _commit(self) -> None:
        try:
            super()._commit()  # type: ignore[misc]
        finally:
            self._end_turn()
        self._checkpoint_now_and_then()

    def _checkpoint_now_and_then(self) -> None:
        """Copy the write-ahead log into the database now and then, as far as no reader stands in the way. Others write
        meanwhile.

        What was committed stays so where this fails: the log keeps it, and is copied another time."""
        if next(_commits) % CHECKPOINT_EVERY:
            return
        try:
            self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):  # else a database in memory whose lock another thread has
                log.warning("The write-ahead log cannot be copied into the database (is the disk full?): %s", error)

    def _rollback(self) -> None:
        try:
            super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> None:
        try:
            super()._close()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            _line.leave()
            if self._held_since:
                seconds, self._held_since = time.monotonic() - self._held_since, 0.0
                computed = time.thread_time() - self._computed_before
                lock_holds.note(seconds, computed, self._slow_write_seconds, self._held_from)
