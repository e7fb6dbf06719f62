"""Write rows as CSV files that no spreadsheet takes for formulas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.http import HttpResponse

from common.texts import spreadsheet_cell


def csv_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: inert(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def csv_file(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> HttpResponse:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(csv_of(columns, rows), content_type="text/csv; charset=utf-8", headers=headers)


def inert(value: Any) -> Any:
    """Return a value so that no spreadsheet takes it for a formula: a text may be one, such as a name."""
    return spreadsheet_cell(value) if isinstance(value, str) else value


def cell(text: Any) -> str:
    """Write text so that no spreadsheet takes it for a formula."""
    return str(inert(str(text)))
