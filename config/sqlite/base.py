"""Writers take turns. SQLite has one write lock, and whoever finds it taken sleeps for up to 100 ms and looks again, so
that of many some wait for seconds while others come and go. In one process they stand in line instead, and the first
in it looks often: between two processes a turn is waited for no longer than a few transactions.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

from django.db import OperationalError
from django.db.backends.sqlite3 import base

FIRST_LOOKS, SHORT, LONG = 200, 0.001, 0.01  # seconds between two looks, while another process writes


class Line:
    """First come, first served."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    def enter(self, seconds: float) -> bool:
        """Whether it is our turn; False when it did not come in time."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=seconds):
            return True
        with self._guard:
            if mine not in self._waiting:  # it came at the last moment
                return True
            self._waiting.remove(mine)
            return False

    def leave(self) -> None:
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


_line = Line()
os.register_at_fork(after_in_child=_line.__init__)  # type: ignore[misc] # whoever stood in it is not in the child


class DatabaseWrapper(base.DatabaseWrapper):
    _has_turn = False

    def _start_transaction_under_autocommit(self) -> None:
        patience = float(self.settings_dict["OPTIONS"].get("timeout", 5.0))
        until = time.monotonic() + patience
        if not _line.enter(patience):
            raise OperationalError("database is locked")
        self._has_turn = True
        try:
            self._begin(until)
        except BaseException:
            self._end_turn()
            raise

    def _begin(self, until: float) -> None:
        self.connection.execute("PRAGMA busy_timeout = 0")
        try:
            for looks in range(1 << 30):
                try:
                    return super()._start_transaction_under_autocommit()  # type: ignore[misc] # the stubs leave it out
                except OperationalError as error:
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
