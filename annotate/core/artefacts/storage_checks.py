"""What `manage.py check` says of ASSAY_STORAGE."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from annotate.core.artefacts import local_copies
from common.artefacts.storage_problems import StorageProblem


def check_storage(**_: Any) -> list[CheckMessage]:
    """Return errors; none without ASSAY_STORAGE. Nothing is asked of a storage that another host serves."""
    if not local_copies.is_on():
        return []
    if settings.STORAGE.startswith(f"{settings.DATA_DIR}/") or str(settings.DATA_DIR) == settings.STORAGE:
        hint = "Name a folder elsewhere: ASSAY_DATA is this host's own, the storage is every host's."
        return [Error(f"ASSAY_STORAGE {settings.STORAGE} lies in ASSAY_DATA.", hint=hint, id="annotate.E001")]
    try:
        files = local_copies.store().files
        if files.is_folder:
            files.size_of("manifests")
    except StorageProblem as problem:
        return [Error(problem.message, hint=problem.remedy, id="annotate.E002")]
    return []
