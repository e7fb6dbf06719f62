"""A run's directory in the storage of ASSAY_STORAGE: one artefact, put whole at each checkpoint and at the end."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Collection
from pathlib import Path

from annotate.core.artefacts import local_copies
from common.artefacts.manifests import Manifest
from common.artefacts.storage_problems import NotStored, StorageProblem
from training.core import kept_steps
from training.core.run_artefact import RULES, is_of, newest_step, snapshot
from training.core.run_directory import RunDirectory
from training.models import Run

log = logging.getLogger("assay.worker")


def identity_of(run: Run) -> str:
    """Return what its directory says it is: the run 7 of another database is another run."""
    return f"run {run.pk} of {run.created_at.isoformat()}\n"


def keep(run: Run, may_write: Callable[[], None]) -> None:
    """Store the directory as it is. `may_write` raises where another worker has the run. Raises StorageProblem."""
    if local_copies.is_on():
        with snapshot(run.path) as folder:
            local_copies.store().put(local_copies.name_of(run.path), folder, RULES, may_write=may_write)


def bring(run: Run) -> None:
    """Fetch the directory as another host left it, where it went on for longer than what is here. Raises
    StorageProblem."""
    manifest = _manifest(run)
    if manifest is None or not _is_ours(run, manifest):
        return
    is_here = (run.path / "identity").exists()
    if is_here and (RunDirectory(run.path).kept_step() or 0) >= newest_step(manifest):
        return
    coming = run.path.with_name(f".{run.path.name}.{uuid.uuid4().hex}.coming")
    try:
        local_copies.store().fetch(manifest.name, coming)
        _replace(run.path, coming)
    finally:
        shutil.rmtree(coming, ignore_errors=True)


def stored_paths(run: Run) -> frozenset[str]:
    """Return what the storage has of a run's directory; nothing where it does not answer."""
    try:
        manifest = _manifest(run) if local_copies.is_on() else None
    except StorageProblem:
        manifest = None
    return frozenset(entry.path for entry in manifest.entries) if manifest is not None else frozenset()


def drop_checkpoints(
    run: Run, *, keeps_last: bool = False, drops_kept: bool = False, among: Collection[str] | None = None
) -> None:
    """Delete the checkpoints of a run that has ended from the storage, as from the disk, and with `drops_kept` the
    models of its steps. `among`: only these, so that what an attempt has stored since stays. A storage that does not
    answer keeps them until the next time."""
    try:
        if not local_copies.is_on() or (manifest := _manifest(run)) is None or not _is_ours(run, manifest):
            return
        last = f"checkpoints/step-{newest_step(manifest):06d}/" if keeps_last else None
        going = ("checkpoints/", f"{kept_steps.FOLDER}/") if drops_kept else ("checkpoints/",)
        local_copies.store().drop(
            manifest.name,
            lambda path: (
                path.startswith(going) and (among is None or path in among) and not (last and path.startswith(last))
            ),
        )
    except StorageProblem as problem:
        log.warning("The checkpoints of %s stay in the storage: %s", run, problem)


def _manifest(run: Run) -> Manifest | None:
    try:
        return local_copies.store().manifest(local_copies.name_of(run.path))
    except NotStored:
        return None


def _is_ours(run: Run, manifest: Manifest) -> bool:
    return is_of(manifest, identity_of(run))


def _replace(path: Path, coming: Path) -> None:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.replaced")
    if path.exists():
        path.rename(aside)
    coming.rename(path)
    shutil.rmtree(aside, ignore_errors=True)
