"""A database with all tables, and the static files, for a benchmark to fill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support import migrated


def make_tables(environment: Mapping[str, str]) -> None:
    """Make the tables of the database that $DATABASE_URL names, else of the SQLite file in $ASSAY_DATA.

    They are copied from what is migrated once: the migrations take longer than a small benchmark does.
    """
    if environment.get("DATABASE_URL"):
        migrated.migrate_postgres(environment)
    else:
        migrated.copy_migrated(Path(environment["ASSAY_DATA"]) / "assay.sqlite3")


def make_static(environment: Mapping[str, str]) -> None:
    """Put the static files into $ASSAY_DATA, as `manage.py collectstatic` does: once, and copies of them later."""
    migrated.copy_static(environment)
