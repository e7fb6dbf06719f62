"""A database with all tables for a benchmark to fill."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.migrated import copy_migrated
from tests.support.processes import ROOT


def make_tables(environment: Mapping[str, str]) -> None:
    """Make the tables of the database that $DATABASE_URL names, else of the SQLite file in $ASSAY_DATA.

    SQLite's file is copied from one that is migrated once: the migrations take longer than a small benchmark does.
    """
    if environment.get("DATABASE_URL"):
        migrate = [sys.executable, "manage.py", "migrate", "-v0"]
        subprocess.run(migrate, cwd=ROOT, env=dict(environment), check=True)
    else:
        copy_migrated(Path(environment["ASSAY_DATA"]) / "assay.sqlite3")
