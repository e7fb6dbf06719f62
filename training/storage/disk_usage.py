"""Measure what is on the disk: of each run, of each model, in all, and how much is free.

With ASSAY_STORAGE a run or a model takes what is here or what is stored, whichever is more: another host may have made
it, and this one has nothing of it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.models import LanguageModel, Project
from training.core import kept_steps
from training.core.run_directory import RunDirectory
from training.models import Run


@dataclass(frozen=True)
class RunUse:
    """One run's bytes. Rows that it shares with a dataset by hard links are the dataset's."""

    run: Run
    checkpoints: int
    model: int
    kept: int  # models of steps on its way
    rest: int
    here: int  # of all this on the disk of this host

    @property
    def models(self) -> int:
        return self.model + self.kept

    @property
    def total(self) -> int:
        return self.checkpoints + self.models + self.rest


@dataclass(frozen=True)
class ModelUse:
    model: LanguageModel
    size: int


@dataclass(frozen=True)
class DiskUse:
    runs: list[RunUse]
    models: list[ModelUse]
    datasets: int
    elsewhere: int  # runs of other projects, and what an earlier database left behind
    free: int
    capacity: int

    @property
    def checkpoints(self) -> int:
        return sum(use.checkpoints for use in self.runs)

    @property
    def of_runs(self) -> int:
        return sum(use.total for use in self.runs)

    @property
    def used(self) -> int:
        return self.capacity - self.free

    @property
    def low(self) -> int:
        """Return the size from which on the meter warns."""
        return int(0.8 * self.capacity)

    @property
    def high(self) -> int:
        return int(0.95 * self.capacity)


@dataclass(frozen=True)
class Stored:
    """Hold what the storage had when it was listed: bytes by the directory of a run or a model, by folder, the upper
    two of each."""

    runs: dict[Path, dict[str, int]]
    models: dict[Path, dict[str, int]]


def list_stored() -> Stored:
    """List the storage, once for all figures of a page: it may be far away."""
    return Stored(stored_runs(), local_copies.sizes_below(settings.MODELS_DIR))


def of_project(project: Project, stored: Stored | None = None) -> DiskUse:
    """Return each run and model of this project, the largest first, and the others as one number."""
    stored = stored or list_stored()
    every = project.runs.select_related("output_model")
    runs = sorted((of_run(run, stored.runs.get(run.path, {})) for run in every), key=lambda use: -use.total)
    models = (
        _imported(project, stored.models)
        + _kept(project, stored.runs)
        + [
            ModelUse(use.run.output_model, use.model)
            for use in runs
            if use.run.output_model_id and use.model and use.run.output_model
        ]
    )
    space = shutil.disk_usage(settings.DATA_DIR)
    return DiskUse(
        [use for use in runs if use.total],
        sorted(models, key=lambda use: -use.size),
        size_of(settings.DATASETS_DIR),
        max(0, size_of(settings.RUNS_DIR, shared=False) - sum(use.here for use in runs)),
        space.free,
        space.total,
    )


def size_of_project(project: Project, stored: Stored | None = None) -> int:
    """Return the bytes of a project's runs and models, without datasets, which projects share."""
    stored = stored or list_stored()
    of_runs = sum(of_run(run, stored.runs.get(run.path, {})).total for run in project.runs.all())
    return of_runs + sum(use.size for use in _imported(project, stored.models))


def stored_runs() -> dict[Path, dict[str, int]]:
    """Return the bytes of stored runs by their directories, by folder, the upper two of each."""
    return local_copies.sizes_below(settings.RUNS_DIR)


def of_checkpoints(stored: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes of a stored run's checkpoints by their names, `step-000010`."""
    parts = ((folder.partition("/"), size) for folder, size in stored.items())
    return {name: size for (top, _, name), size in parts if top == "checkpoints" and name}


def _imported(project: Project, stored: Mapping[Path, Mapping[str, int]]) -> list[ModelUse]:
    models = LanguageModel.objects.of_projects([project]).imported().exclude(folder="")
    return [
        ModelUse(model, max(size_of(model.path), sum(stored.get(model.path, {}).values())))
        for model in models
        if model.path
    ]


def _kept(project: Project, stored: Mapping[Path, Mapping[str, int]]) -> list[ModelUse]:
    models = LanguageModel.objects.filter(kept_checkpoint__run__project=project)
    return [
        ModelUse(model, max(size_of(path), stored.get(path.parents[1], {}).get(f"{path.parent.name}/{path.name}", 0)))
        for model in models
        if (path := model.path)
    ]


def of_run(run: Run, stored: Mapping[str, int] | None = None) -> RunUse:
    """Return what a run takes. `stored`: the bytes of its artefact by folder; rows in it are those of its dataset."""
    directory = RunDirectory(run.path)
    named = {"checkpoints": directory.checkpoints, "model": directory.model, "kept": run.path / kept_steps.FOLDER}
    sizes = {name: size_of(folder) for name, folder in named.items()}
    sizes["rest"] = max(0, size_of(run.path, shared=False) - sum(sizes.values()))
    here, elsewhere = sum(sizes.values()), dict.fromkeys(sizes, 0)
    for folder, size in (stored or {}).items():
        top = folder.partition("/")[0]
        if top not in ("data", "dataset"):
            elsewhere[top if top in named else "rest"] += size
    return RunUse(run, **{name: max(size, elsewhere[name]) for name, size in sizes.items()}, here=here)


def size_of(folder: Path, *, shared: bool = True) -> int:
    """Return the bytes that the files below take up on the disk, each once; without those that are elsewhere too if
    asked."""
    counted_files: set[tuple[int, int]] = set()
    size = 0
    for status in _files(folder):
        key = (status.st_dev, status.st_ino)
        if key not in counted_files and (shared or status.st_nlink == 1):
            counted_files.add(key)
            size += status.st_blocks * 512
    return size


def size_in_words(size: float) -> str:
    """Format a size as a disk's label counts: 3.1 GB, 25 MB, 4 kB."""
    for unit, scale, digits in (("TB", 1e12, 1), ("GB", 1e9, 1), ("MB", 1e6, 0), ("kB", 1e3, 0)):
        if size >= scale:
            return f"{size / scale:.{digits}f} {unit}"
    return f"{size:.0f} bytes" if size else "nothing"


def _files(folder: Path) -> Iterable[os.stat_result]:
    """Yield the files; what goes away while it is looked at counts for nothing."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield entry.stat(follow_symlinks=False)
        except OSError:
            continue
