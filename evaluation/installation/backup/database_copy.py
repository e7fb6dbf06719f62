"""Copy the database as it is at one moment while others write, and bring such a copy back into an empty one.

SQLite by its own backup, in one step under one read transaction: in WAL mode nobody waits for it. Postgres by pg_dump.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import connection, transaction

SQLITE, POSTGRES = "sqlite", "postgresql"
_MISSING = (
    "{} is not installed, or not in PATH: install Postgres' client programs, of the server's version or later "
    "(postgresql-client)."
)


def copy_to(path: Path) -> dict[str, int]:
    """Copy the database to a file and return how many rows each table has in the copy. Raises CommandError."""
    return _copy_sqlite(path) if connection.vendor == SQLITE else _dump_postgres(path)


def file_name() -> str:
    return "assay.sqlite3" if connection.vendor == SQLITE else "assay.pgdump"


def is_empty() -> bool:
    """Return whether the database has no tables; a file of SQLite that is not there is not made by looking."""
    if connection.vendor == SQLITE and not Path(connection.settings_dict["NAME"]).exists():
        return True
    return not connection.introspection.table_names()


def bring_back(path: Path) -> None:
    """Fill the empty database from a copy, as a whole or not at all. Raises CommandError."""
    if connection.vendor == SQLITE:
        connection.close()
        target = Path(connection.settings_dict["NAME"])
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(path, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        for rest in ("-wal", "-shm"):
            target.with_name(target.name + rest).unlink(missing_ok=True)
        partial.rename(target)
        return
    arguments = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", str(path)]
    with connection.cursor():
        _call("pg_restore", arguments, connection.connection.info)


def row_counts() -> dict[str, int]:
    with connection.cursor() as cursor:
        return _counts(cursor, sorted(connection.introspection.table_names(cursor)))


def require_programs() -> None:
    """Raise CommandError where a program is missing, before anything is written."""
    if connection.vendor == POSTGRES:
        for program in ("pg_dump", "pg_restore"):
            if shutil.which(program) is None:
                raise CommandError(_MISSING.format(program))


def _copy_sqlite(path: Path) -> dict[str, int]:
    name = str(connection.settings_dict["NAME"])
    size, free = Path(name).stat().st_size, shutil.disk_usage(path.parent).free
    if size > free:
        raise CommandError(
            f"{path.parent} has room for {free:,} bytes, and the database has {size:,}: set TMPDIR to a larger folder."
        )
    source, copy = sqlite3.connect(name), sqlite3.connect(path)
    try:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, and none beside it
        tables = copy.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        return _counts(copy.cursor(), sorted(table for (table,) in tables))
    finally:
        source.close()
        copy.close()


def _dump_postgres(path: Path) -> dict[str, int]:
    """Dump and count in the same snapshot."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        arguments = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}"]
        _call("pg_dump", arguments, connection.connection.info)
        return _counts(cursor, sorted(connection.introspection.table_names(cursor)))


def _counts(cursor: Any, tables: list[str]) -> dict[str, int]:
    counts = {}
    for table in tables:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        counts[table] = cursor.fetchone()[0]
    return counts


def _call(program: str, arguments: list[str], info: Any) -> None:
    """Run a client program on our own connection's database. The password goes by the environment: other users of the
    machine read command lines."""
    if shutil.which(program) is None:
        raise CommandError(_MISSING.format(program))
    environment = {**os.environ, "PGPASSWORD": info.password} if info.password else dict(os.environ)
    child = subprocess.run(
        [program, f"--dbname={info.dsn}", *arguments], env=environment, capture_output=True, text=True
    )
    if child.returncode:
        raise CommandError(f"{program} failed: {child.stderr.strip()[-2000:] or f'exit {child.returncode}'}")
