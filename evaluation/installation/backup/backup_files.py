"""List what a backup takes of ASSAY_DATA: all that rows name, and what operators laid there, but no secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from annotate.core.artefacts import local_copies
from annotate.models import LanguageModel
from common.artefacts.artefact_store import Rules
from training.core import run_artefact
from training.models import Run
from training.storage import stored_artefacts

FOLDERS = ("datasets", "models", "runs")  # each entry is a part
FILES = ("imports", "corpora", "corpus-uploads", "machines")  # each file is one
# What is no part of a backup: secrets, what is made again at each start, and copies of what is elsewhere.
NOT_TAKEN = (
    *("secret-key", "accounts.json", "static", "glimpses", "node", "logs", "demo"),
    *("tensorboard", "wandb"),  # of figures that the database has
)


@dataclass(frozen=True)
class Part:
    """A folder or file below ASSAY_DATA."""

    path: Path
    rules: Rules | None = None

    @property
    def place(self) -> str:
        return local_copies.name_of(self.path)


def parts() -> Iterator[Part]:
    """Yield what lies below ASSAY_DATA, without what the storage of ASSAY_STORAGE has."""
    for path in _paths():
        rules = run_artefact.RULES if path.parent == settings.RUNS_DIR else None
        if not local_copies.is_on() or not local_copies.store().has(local_copies.name_of(path)):
            yield Part(path, Rules(is_part=rules.is_part) if rules else None)


def may_change(path: Path, since: datetime) -> bool:
    """Return whether it is the directory of a run that is under way, or was since then: the next backup has it."""
    under_way = Q(state__in=[Run.State.QUEUED, Run.State.RUNNING]) | Q(attempts__ended_at__gte=since)
    return any(run.path == path for run in Run.objects.filter(under_way).only("pk"))


def named_places() -> list[str]:
    """Return what rows name."""
    return [artefact.name for artefact in stored_artefacts.expected()]


def missing_of(named: Iterable[str], taken: set[str]) -> Iterator[str]:
    """Yield what is named and is neither in the backup nor in the storage."""
    for name in named:
        is_taken = name in taken or any(place.startswith(f"{name}/") for place in taken)
        if not is_taken and not (local_copies.is_on() and local_copies.store().has(name)):
            yield name


def unknown_entries() -> list[str]:
    """Return what lies in ASSAY_DATA and is neither taken nor known to be left out."""
    known = {*FOLDERS, *FILES, *NOT_TAKEN, *(part.parts[0] for part in map(Path, _folders_of_models()))}
    databases = ("assay.sqlite3", Path(settings.DATABASES["default"]["NAME"]).name)  # also one that was moved away from
    names = sorted(path.name for path in settings.DATA_DIR.iterdir() if not path.name.startswith("."))
    return [name for name in names if name not in known and not name.startswith(databases)]


def _paths() -> Iterator[Path]:
    for name in FOLDERS:
        yield from _entries(settings.DATA_DIR / name)
    for name in FILES:
        below = sorted((settings.DATA_DIR / name).rglob("*"))
        yield from (path for path in below if path.is_file() and not path.name.startswith("."))
    for folder in sorted(_folders_of_models()):
        path = settings.DATA_DIR / folder
        if Path(folder).parts[0] not in FOLDERS and local_copies.name_of(path) and path.is_dir():
            yield path


def _entries(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in entries if not path.name.startswith(".")]


def _folders_of_models() -> set[str]:
    return set(LanguageModel.objects.exclude(folder="").values_list("folder", flat=True))
