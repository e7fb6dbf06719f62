"""What the rows of the database say is there, and what the storage of ASSAY_STORAGE has of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.data.imports import kept_files
from annotate.models import Dataset, Import, LanguageModel
from common.artefacts.artefact_store import Rules
from common.artefacts.manifests import Manifest
from training.core import run_artefact
from training.models import Run

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
        """Store it from this host. Raises StorageProblem."""
        return local_copies.store().put(self.name, self.path, self.rules, is_trusting=is_trusting)


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


def _uploads() -> Iterator[Artefact]:
    for import_ in Import.objects.exclude(file_hash="").order_by("pk"):
        path = kept_files.folder() / import_.file_hash
        if path.exists():  # it is kept for some days after its import has ended
            yield Artefact(path, f"file of import {import_.pk}", local_copies.OWN)
    for folder in _OF_OPERATORS:
        for path in sorted((settings.DATA_DIR / folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield Artefact(path, "file for corpora", is_of_operators=True)
