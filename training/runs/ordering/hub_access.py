"""Check what may leave for a hub and what may come from one, and record both in the audit trail.

Models are pushed only to the repositories that the operator names in ASSAY_HUB_REPOSITORIES: the token is the
operator's, and may write more than a researcher should. A name on a hub is never a folder here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings

from annotate.core import audit
from annotate.data.rows.hub_opening import is_local
from training.configs.corpus_sources import BadSource, Order, local_words
from training.core.export_names import HUB_NAME

if TYPE_CHECKING:
    from annotate.models import Project
    from training.core.run_directory import RunDirectory
    from training.models import Run

VARIABLE = "ASSAY_HUB_REPOSITORIES"


def check_export(project: Project, config: Any) -> dict[str, str]:
    """Return {option: what is wrong} of an export that would push elsewhere than the operator allows; {} when all is
    well."""
    if config.to != "hub" or is_named(config.repository, settings.HUB_REPOSITORIES):
        return {}
    named = ", ".join(settings.HUB_REPOSITORIES)
    if not named:
        return {"repository": f"{VARIABLE} names no repository yet, so nothing can be uploaded; ask the operator."}
    return {"repository": f"must be one of {named}, not {config.repository!r}: the operator lists them in {VARIABLE}."}


def check_names(orders: list[Order]) -> None:
    """Raise BadSource for a Hub name that is a folder here, of which `load_dataset` would read the files."""
    for order in orders:
        if order.scheme == "hub" and is_local(order.name, Path(settings.BASE_DIR)):
            raise BadSource(local_words(order))


def record_order(run: Run) -> None:
    """Write to the audit trail what a run will bring from a hub or take there. Called when it is queued."""
    if run.kind == "corpus":
        lines = [line.strip() for line in run.config["sources"].splitlines()]
        for line in (one for one in lines if one.startswith("hub:")):
            audit.record(action="hub.read", about=f"{line} for {run.name}", by=run.created_by, project=run.project)
    elif run.kind == "import" and is_on_hub(source := run.config["source"].strip()):
        audit.record(action="hub.read", about=f"{source} for {run.name}", by=run.created_by, project=run.project)
    elif run.kind == "export" and run.config["to"] == "hub":
        about = f"{run.parent} to {run.config['repository']}"
        audit.record(action="hub.push", about=about, by=run.created_by, project=run.project)


def record_push(run: Run, directory: RunDirectory) -> None:
    """Write to the audit trail what a run has pushed, in the transaction that ends it well."""
    if pushed := run.result.get("hub"):
        about = f"{run.parent} to {pushed['repository']}, commit {pushed['commit']}"
        audit.record(action="hub.pushed", about=about, by=run.created_by, project=run.project)


def is_on_hub(source: str) -> bool:
    """Return whether an import's source is a name on the hub, and no place below models/."""
    return bool(HUB_NAME.fullmatch(source)) and not source.startswith("models/")


def is_named(repository: str, named: Sequence[str]) -> bool:
    """Return whether a repository is one of those named: owner/name, or owner/* for all of an owner's."""
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name:
        return False
    return repository in named or f"{owner}/*" in named
