"""Carry imports out in a test, as a background worker does."""

from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from annotate.data.imports.engine import Importer
from annotate.models import Import, Project


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


def look_at(client: Client, project: Project, file: Any = None, **fields: Any):
    """Return the page that shows what a file, or a `text`, would become."""
    address = reverse("add-data", args=[project.slug])
    sent = fields | ({"file": file} if file is not None else {})
    return client.post(address, sent, follow=True)


def add_by_page(
    client: Client, project: Project, file: Any, *, checks: bool = False, follow: bool = True, **fields: Any
):
    """Send a file, look at it, and add it with these fields of the form."""
    shape = {"as": fields["as"]} if "as" in fields else {}
    seen = look_at(client, project, file, **shape)
    address = reverse("add-data", args=[project.slug]) + ("?do=check" if checks else "")
    return client.post(address, {"draft": seen.context["draft"].token, **fields}, follow=follow)
