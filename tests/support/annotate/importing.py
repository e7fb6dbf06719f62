"""Carry imports out in a test, as a background worker does."""

from __future__ import annotations

from annotate.data.imports.engine import Importer
from annotate.models import Import


def work_off_imports(importer: Importer | None = None) -> None:
    """Take in every file that waits, or that the importer may."""
    importer = importer or Importer()
    while importer.do():
        pass


def carry_out(of: Import, importer: Importer | None = None) -> Import:
    """Return the import as it stands when nothing waits any more."""
    work_off_imports(importer)
    of.refresh_from_db()
    return of
