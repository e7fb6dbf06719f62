"""List files that no row names: what an accident or an earlier database left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.data.imports import kept_files
from annotate.models import Dataset, Import, LanguageModel
from evaluation.installation.verification.faults import Look, place_of
from training.models import Run
from training.storage import stored_artefacts

_OF_THE_SITE = (".pruned", "gpus")  # beside run directories, and no remains: when it was pruned, and locks of GPUs


def unnamed(look: Look) -> Iterator[str]:
    """Yield the names of what no row names, below ASSAY_DATA, and in the storage where it is read."""
    models = set(LanguageModel.objects.exclude(folder="").values_list("folder", flat=True))
    yield from _others(settings.MODELS_DIR, {Path(folder).parts[1] for folder in models if _is_of_models(folder)})
    yield from _others(settings.DATASETS_DIR, set(Dataset.objects.values_list("content_hash", flat=True)))
    yield from _others(settings.RUNS_DIR, {f"{pk:06d}" for pk in Run.objects.values_list("pk", flat=True)})
    yield from _others(kept_files.folder(), _hashes_of_imports())
    if local_copies.is_on() and not look.is_quick:
        yield from _others_stored()


def _is_of_models(folder: str) -> bool:
    return len(Path(folder).parts) > 1 and Path(folder).parts[0] == settings.MODELS_DIR.name


def _others(folder: Path, named: set[str]) -> Iterator[str]:
    if folder.is_dir():
        entries = (path for path in sorted(folder.iterdir()) if path.name not in _OF_THE_SITE)
        yield from (place_of(path) for path in entries if path.name not in named)


def _others_stored() -> Iterator[str]:
    store = local_copies.store()
    expected = {artefact.name for artefact in stored_artefacts.expected()}
    expected |= {local_copies.name_of(Run(pk=pk).path) for pk in Run.objects.values_list("pk", flat=True)}
    expected |= {local_copies.name_of(kept_files.folder() / name) for name in _hashes_of_imports()}
    blobs: set[str] = set()
    for name in store.names():
        blobs |= {entry.blob for entry in store.manifest(name).entries}
        if stored_artefacts.row_of(name) not in expected:
            yield f"{store.address}/manifests/{name}.json"
    yield from (f"{store.address}/{blob}" for blob in store.files.names("blobs") if blob not in blobs)


def _hashes_of_imports() -> set[str]:
    return set(Import.objects.values_list("file_hash", flat=True))
