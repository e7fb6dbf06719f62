"""Name all checks in their order: what they read first is what the later ones trust."""

from __future__ import annotations

from collections.abc import Iterator

from evaluation.installation.verification.database_integrity import check_database, check_migrations
from evaluation.installation.verification.dataset_files import check_datasets
from evaluation.installation.verification.faults import Check, Fault, Look
from evaluation.installation.verification.kept_counts import check_queues, check_statuses, check_votes
from evaluation.installation.verification.model_files import check_keys, check_models
from evaluation.installation.verification.run_files import check_checkpoints, check_runs
from evaluation.installation.verification.stored_files import check_storage
from evaluation.installation.verification.upload_files import check_uploads

CHECKS: dict[str, Check] = {
    "database": check_database,
    "datasets": check_datasets,
    "models": check_models,
    "keys": check_keys,
    "runs": check_runs,
    "checkpoints": check_checkpoints,
    "uploads": check_uploads,
    "storage": check_storage,
    "statuses": check_statuses,
    "votes": check_votes,
    "queues": check_queues,
}


def faults(look: Look) -> Iterator[tuple[str, list[Fault]]]:
    """Yield the name of each check with its faults. Tables of another version end it: nothing else can be read then."""
    outdated = list(check_migrations(look))
    yield "migrations", outdated
    if not outdated:
        yield from ((name, list(check(look))) for name, check in CHECKS.items())
