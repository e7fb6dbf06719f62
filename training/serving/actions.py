"""Change how the server of a base takes adapters."""

from __future__ import annotations

from django.db import transaction

from annotate.core.errors import Refused
from annotate.language_models import actions as models
from annotate.language_models import changes
from annotate.models import AdapterServer, LanguageModel, User
from training.serving import eviction

MOST_ADAPTERS, LONGEST_FOLDER = 1000, 500


def change_server(*, base: LanguageModel, by: User, limit: int, data_folder: str) -> AdapterServer:
    """Set how many adapters of the base its server keeps, and where it sees the data folder.

    Raises Refused: 400 with what is wrong, 403 for somebody of another project. Fewer are unloaded in a while: when the
    next one is loaded."""
    changes.require_change(base, by)
    errors = {}
    if not 1 <= limit <= MOST_ADAPTERS:
        errors["limit"] = f"Enter a whole number from 1 to {MOST_ADAPTERS:,}."
    data_folder = data_folder.strip().rstrip("/")
    if data_folder and (not data_folder.startswith("/") or len(data_folder) > LONGEST_FOLDER):
        errors["data_folder"] = f"Enter an absolute path such as /mnt/assay, of at most {LONGEST_FOLDER} characters."
    if errors:
        raise Refused(400, **errors)
    return _write(base, by, limit, data_folder)


@transaction.atomic
def _write(base: LanguageModel, by: User, limit: int, data_folder: str) -> AdapterServer:
    server, _ = AdapterServer.objects.update_or_create(base=base, defaults={"limit": limit, "data_folder": data_folder})
    models.tell_trails(base, "model.adapters", by, about=f"{base.name}: {limit} adapters at most")
    for row in eviction.failed_rows(base):
        row.ask()  # the folder may be what was wrong
    return server
