"""Verify the files of imports: those that are still to be read are there, and each has the hash of its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from annotate.data.imports import kept_files
from annotate.models import Import
from evaluation.installation.verification.faults import Fault, Look, missing, place_of

_NEEDED = (Import.State.QUEUED, Import.State.RUNNING)
_AGAIN = "Cancel the import and send the file again: no row is written twice."


def check_uploads(look: Look) -> Iterator[Fault]:
    verified: set[str] = set()
    for import_ in Import.objects.exclude(file_hash="").order_by("pk").iterator():
        path = kept_files.folder() / import_.file_hash
        row = f"import {import_.pk} ({import_.file_name})"
        if import_.state in _NEEDED and (fault := missing(path, row)):
            yield Fault(fault.row, fault.place, fault.problem, _AGAIN)
        if import_.file_hash in verified or not path.is_file():
            continue
        verified.add(import_.file_hash)
        if path.stat().st_size != import_.bytes:
            yield Fault(row, place_of(path), f"has {path.stat().st_size:,} bytes of {import_.bytes:,}.", _AGAIN)
        elif not look.is_quick:
            look.say(place_of(path))
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != import_.file_hash:
                yield Fault(row, place_of(path), "does not have its hash.", _AGAIN)
