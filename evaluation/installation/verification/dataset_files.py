"""Verify datasets: the rows of each lie under its hash, and have it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from annotate.data import frozen_rows
from annotate.models import Dataset
from evaluation.installation.verification.faults import Fault, Look, from_elsewhere, missing, place_of, without_hash
from training.core.file_checks.content_hashes import corpus_hash
from training.core.folder_hash import folder_hash


def check_datasets(look: Look) -> Iterator[Fault]:
    verified: set[str] = set()
    for dataset in Dataset.objects.select_related("made_by").order_by("pk").iterator():
        if dataset.content_hash in verified:
            continue
        verified.add(dataset.content_hash)
        look.say(place_of(dataset.path))
        if fault := _fault_of(dataset, look):
            yield fault


def _fault_of(dataset: Dataset, look: Look) -> Fault | None:
    row = f"dataset {dataset.pk} ({dataset.name})"
    if fault := missing(dataset.path, row):
        return fault
    if not dataset.path.is_dir():  # the storage has it
        return None
    if not any(dataset.path.glob("*.jsonl")):
        return Fault(row, place_of(dataset.path), "holds no rows.", from_elsewhere(dataset.path))
    if look.is_quick:
        return None
    return without_hash(row, dataset.path, dataset.content_hash, _hashes(dataset))


def _hashes(dataset: Dataset) -> Iterator[Callable[[], str]]:
    """Yield the ways in which a dataset may have got its hash, the likeliest first."""
    if hasattr(dataset, "made_by"):
        if dataset.kind == Dataset.Kind.CORPUS:
            yield lambda: corpus_hash(dataset.path)
        yield lambda: folder_hash(dataset.path)
    names = sorted(path.stem for path in dataset.path.glob("*.jsonl"))
    yield lambda: frozen_rows.hash_of_files(dataset.path, names, kind=dataset.kind, side=dataset.side)
