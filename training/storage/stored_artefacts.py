"""What the rows of the database say is there, and what the storage of ASSAY_STORAGE has of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath

from django.conf import settings
from django.utils import timezone

from annotate.core.artefacts import local_copies
from annotate.data.imports import kept_files
from annotate.models import Dataset, Import, LanguageModel
from common.artefacts.artefact_store import Rules
from common.artefacts.manifests import Manifest
from common.artefacts.storage_problems import Damaged, NotStored, StorageProblem
from training.core import run_artefact
from training.core.run_directory import RunDirectory
from training.models import Run

log = logging.getLogger("assay.storage")
_OF_ROWS = ("models", "datasets", "runs", "inputs")
_NEW = timedelta(days=1)
_OF_OPERATORS = ("corpora", "corpus-uploads")  # files that no row names


@dataclass(frozen=True)
class Artefact:
    """One folder or file below ASSAY_DATA that a row, or an operator, stands for."""

    path: Path
    label: str  # of the row, for people
    rules: Rules | None = None
    is_of_operators: bool = False  # no row names it

    @property
    def name(self) -> str:
        return local_copies.name_of(self.path)

    @property
    def is_here(self) -> bool:
        """Return whether this host has all of it. Of a run that a cluster's node carried out a worker has a part, and
        the node has stored the whole."""
        return self.path.exists() and not (self.path / "node" / "inputs.json").exists()

    def push(self, *, is_trusting: bool = True) -> Manifest:
        """Store it from this host, and return what is stored: of a run that went on elsewhere that stays. Raises
        StorageProblem."""
        if is_trusting and self.rules is run_artefact.RULES and (stored := self._newer()) is not None:
            return stored
        return local_copies.store().put(self.name, self.path, self.rules, is_trusting=is_trusting)

    def _newer(self) -> Manifest | None:
        """Return what is stored of this run, where this host has less of it."""
        try:
            stored = local_copies.store().manifest(self.name)
        except (NotStored, Damaged):
            return None
        return stored if run_artefact.is_behind(RunDirectory(self.path), stored) else None


def expected() -> Iterator[Artefact]:
    """Yield what is to be in the storage: models, datasets, runs that have ended, files of imports and corpora.

    A model that lies in a run's directory is part of the run's artefact.
    """
    for model in LanguageModel.objects.exclude(folder="").order_by("pk"):
        path = model.path
        if path is not None and local_copies.name_of(path) and not path.is_relative_to(settings.RUNS_DIR):
            yield Artefact(path, f"model {model.name}")
    hashes: set[str] = set()
    for dataset in Dataset.objects.order_by("pk"):
        if dataset.content_hash not in hashes:
            hashes.add(dataset.content_hash)
            yield Artefact(dataset.path, f"dataset {dataset.name}")
    for run in Run.objects.exclude(state__in=[Run.State.QUEUED, Run.State.RUNNING]).order_by("pk"):
        if run.started_at is not None:
            yield Artefact(run.path, str(run), run_artefact.RULES)
    yield from _uploads()


@dataclass(frozen=True)
class Unnamed:
    """An artefact in the storage whose row is gone."""

    name: str
    size: int
    stored_at: datetime


def unnamed() -> Iterator[Unnamed]:
    """Yield the models, datasets, runs and runs' inputs in the storage that no row names. Raises StorageProblem.

    Not what was stored in the last day: its row may be about to be written.
    """
    paths = [model.path for model in LanguageModel.objects.exclude(folder="") if model.path is not None]
    paths += [dataset.path for dataset in Dataset.objects.all()] + [run.path for run in Run.objects.only("pk")]
    places = [PurePosixPath(local_copies.name_of(path)) for path in paths]
    named = {str(place) for path in places for place in (path, *path.parents)}
    store, yesterday = local_copies.store(), timezone.now() - _NEW
    for folder in _OF_ROWS:
        for name in store.names(folder):
            if row_of(name) not in named and (stored_at := store.stored_at(name)) < yesterday:
                yield Unnamed(name, store.manifest(name).size, stored_at)


def row_of(name: str) -> str:
    """Return the artefact whose row an artefact stands for: of a run's inputs the run."""
    folder, _, rest = name.partition("/")
    return f"runs/{rest.partition('-')[0]}" if folder == "inputs" else name


def forget(path: Path) -> None:
    """Delete the artefact of a row that was deleted; its blobs go when the storage is swept. Where the storage does not
    answer it stays there, and `unnamed` finds it."""
    try:
        local_copies.forget(path)
    except StorageProblem as problem:
        log.warning("%s stays in the storage; manage.py store_artefacts --unnamed lists it: %s", path.name, problem)


def _uploads() -> Iterator[Artefact]:
    for import_ in Import.objects.exclude(file_hash="").order_by("pk"):
        path = kept_files.folder() / import_.file_hash
        if path.exists():  # it is kept for some days after its import has ended
            yield Artefact(path, f"file of import {import_.pk}", local_copies.OWN)
    for folder in _OF_OPERATORS:
        for path in sorted((settings.DATA_DIR / folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield Artefact(path, "file for corpora", is_of_operators=True)
