"""Verify the storage of ASSAY_STORAGE: what rows name is there, and each file has its size, and its hash if read."""

from __future__ import annotations

from collections.abc import Iterator

from annotate.core.artefacts import local_copies
from common.artefacts.storage_problems import NotStored, StorageProblem
from evaluation.installation.verification.faults import Fault, Look
from training.storage import stored_artefacts

_PUSH = "Push it from this host: manage.py store_artefacts {}."


def check_storage(look: Look) -> Iterator[Fault]:
    if not local_copies.is_on():
        return
    verified: set[str] = set()  # blobs: artefacts share them
    for artefact in stored_artefacts.expected():
        look.say(f"{artefact.name} in the storage")
        try:
            local_copies.store().verify(artefact.name, reads=not look.is_quick, verified=verified)
        except NotStored:
            if artefact.is_here and not artefact.is_of_operators:  # what is nowhere is told by the check of its rows
                yield Fault(artefact.label, artefact.name, "is not in ASSAY_STORAGE.", _PUSH.format(artefact.name))
        except StorageProblem as problem:
            yield Fault(artefact.label, artefact.name, f"in ASSAY_STORAGE: {problem.message}", problem.remedy)
