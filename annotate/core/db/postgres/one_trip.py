"""Send statements to Postgres together, and read all of their answers from what comes back.

psycopg's own pipeline sends each statement as soon as it has it and looks for answers before the next: two calls of
the system for each here, and the server wakes up as often. Here all go out at once, with the BEGIN before them, and
the answers are waited for once. The connection keeps their plans from the first use on. A plan that is wrong since a
migration fails once, as psycopg's own do, and is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import partial
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.types.numeric import Int8
from psycopg.waiting import Ready, Wait

MOST_PLANS = 300  # that a connection keeps; what comes later is planned each time
Rows = list[tuple[Any, ...]]
_Key = tuple[str, tuple[int, ...]]  # a statement, and the types of its values
_plans: WeakKeyDictionary[Any, dict[_Key, bytes]] = WeakKeyDictionary()  # by connection
_numbers = count()  # of plans: no name is used twice
_WRONG_PLAN = (FeatureNotSupported, InvalidSqlStatementName)  # its columns have other types now; it is not there


def run(
    connection: psycopg.Connection[Any], statements: Iterable[tuple[str, Sequence[Any]]], *, commits: bool = False
) -> list[Rows]:
    """Run statements with $1, $2, … in the places of their values; return the rows of each.

    They begin a transaction where the connection's own cursors would, and end it where it `commits`. Raises what the
    first one that fails raises; those after it are not run, nor is the COMMIT.
    """
    trip = _Trip(connection, commits)
    for sql, values in statements:
        trip.add(sql, values)
    with connection.lock:
        return trip.make()


class _Trip:
    """What goes to the server together."""

    def __init__(self, connection: psycopg.Connection[Any], commits: bool) -> None:
        self._connection, self._pgconn, self._commits = connection, connection.pgconn, commits
        self._transformer = Transformer(connection)
        self._plans = _plans.setdefault(connection, {})
        self._messages: list[tuple[_Key, Sequence[Any], Any]] = []
        self._new_plans: dict[_Key, bytes] = {}
        self._readers: list[Callable[[Any], None]] = []  # of the answers, in their order
        self._rows: list[Rows] = []

    def add(self, sql: str, values: Sequence[Any]) -> None:
        """Add a statement. All whole numbers have one type, so that it has one plan whatever their size."""
        widened = [Int8(value) if type(value) is int else value for value in values]
        dumped = self._transformer.dump_sequence(widened, [PyFormat.AUTO] * len(widened))
        self._messages.append(((sql, tuple(self._transformer.types or ())), dumped, self._transformer.formats))

    def make(self) -> list[Rows]:
        """Send all, and return the rows of each statement."""
        try:
            self._pgconn.enter_pipeline_mode()
            self._send()
            results = self._connection.wait(_results(self._pgconn))
        except BaseException:
            self._connection.close()  # whoever asks next would read what is still to come
            raise
        if self._pgconn.status == ConnStatus.OK:
            self._pgconn.exit_pipeline_mode()
        for read, result in zip(self._readers, results, strict=False):
            if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                raise self._error(result)
            read(result)
        if len(results) < len(self._readers):
            raise psycopg.OperationalError("The connection ended before all answers were there.")
        return self._rows

    def _error(self, result: Any) -> psycopg.Error:
        error = error_from_result(result, encoding=self._connection.info.encoding)
        if isinstance(error, _WRONG_PLAN):
            self._plans.clear()
        return error

    def _send(self) -> None:
        if not self._connection.autocommit and self._pgconn.transaction_status == TransactionStatus.IDLE:
            self._send_alone(b"BEGIN")
        for key, values, formats in self._messages:
            name = self._plans.get(key) or self._new_plans.get(key) or self._send_plan(key)
            if name is None:
                sql, types = key
                self._pgconn.send_query_params(sql.encode(), values, types, formats)
            else:
                self._pgconn.send_query_prepared(name, values, formats)
            self._readers.append(self._read)
        if self._commits:
            self._send_alone(b"COMMIT")
        self._pgconn.pipeline_sync()

    def _send_alone(self, sql: bytes) -> None:
        self._pgconn.send_query_params(sql, None)
        self._readers.append(lambda _: None)

    def _send_plan(self, key: _Key) -> bytes | None:
        if len(self._plans) + len(self._new_plans) >= MOST_PLANS:
            return None
        name = self._new_plans[key] = f"assay_{next(_numbers)}".encode()
        sql, types = key
        self._pgconn.send_prepare(name, sql.encode(), types)
        self._readers.append(partial(self._keep_plan, key, name))
        return name

    def _keep_plan(self, key: _Key, name: bytes, _: Any) -> None:
        self._plans[key] = name

    def _read(self, result: Any) -> None:
        if result.status == ExecStatus.TUPLES_OK:
            self._transformer.set_pgresult(result)
            self._rows.append(self._transformer.load_rows(0, result.ntuples, tuple))
        else:
            self._rows.append([])


def _results(pgconn: Any) -> Generator[Wait, Ready | int, list[Any]]:
    """Wait until all is sent and all answers are there; return them without the last, which ends the trip."""
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()
    results: list[Any] = []
    while True:
        while pgconn.is_busy():
            yield Wait.R
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:  # the end of one statement's results, or of the connection
            if pgconn.status != ConnStatus.OK:
                return results
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return results
        else:
            results.append(result)
