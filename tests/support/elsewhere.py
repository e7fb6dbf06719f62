"""Do something on another connection to the database, and see whether it waits there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from django.db import connection, connections

LONG = 120  # seconds, for a busy machine: nothing waits so long


class Elsewhere(threading.Thread):
    """Do something on a connection of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.work, self.result = work, None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:
            self.error = error
        finally:
            connections.close_all()

    def done(self) -> Any:
        """Return its result, or raise its error."""
        self.join(LONG)
        assert not self.is_alive(), "it waits"
        if self.error:
            raise self.error
        return self.result


def somebody_waits() -> bool:
    """Return whether a lock of Postgres is waited for."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return cursor.fetchone()[0]
