"""Empty the database after a test with transactions of its own, without Django's flush.

The flush truncates a hundred tables of which such a test has filled ten, and makes the rows of content types and
permissions anew: a quarter of a second on Postgres.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from django.db import connections, transaction
from django.test import TransactionTestCase

# What Django itself writes once the tables are there.
WRITTEN_BY_DJANGO = frozenset({"django_content_type", "auth_permission"})

_flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
_truncated_in = ""  # the module whose first such test was the last to end by a flush


def empty_without_flush() -> None:
    """Have tests with transactions of their own end with `empty`."""
    TransactionTestCase._fixture_teardown = empty  # type: ignore[attr-defined]


def empty(case: Any) -> None:
    """Delete all rows of the tables that have any.

    On Postgres the first such test of a module still truncates: nobody vacuums there, and what is deleted or rolled
    back would pile up in the tables. On a server that is not the tests' own (tests/support/servers.py) all of them do:
    keys cannot be put aside there.
    """
    global _truncated_in
    connection = connections["default"]
    is_postgres = connection.vendor == "postgresql"
    module = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[0]
    if is_postgres and ("DATABASE_URLS" not in os.environ or module != _truncated_in):
        _truncated_in = module
        _flush(case)
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_filled_tables_query(connection))
        filled = {name for (name,) in cursor}
        if is_postgres:
            cursor.execute("SET LOCAL session_replication_role = replica")  # no key is looked up for rows that all go
        for table in filled - WRITTEN_BY_DJANGO:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
    if not filled >= WRITTEN_BY_DJANGO:  # the test has emptied them
        _flush(case)


@functools.cache
def _filled_tables_query(connection: Any) -> str:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    each = (f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {connection.ops.quote_name(table)})" for table in tables)
    return " UNION ALL ".join(each)
