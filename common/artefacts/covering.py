"""Find the stored artefact that a path below a data folder is, or is in: `runs/000012/model` is part of
`runs/000012`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.artefacts.artefact_store import ArtefactStore
from common.artefacts.manifests import Manifest
from common.artefacts.storage_problems import NotStored


def covering(store: ArtefactStore, name: str) -> Manifest | None:
    """Return the manifest of the artefact that a name is, or is in; None where none is stored. Raises
    StorageProblem."""
    for candidate in _names_above(name):
        try:
            return store.manifest(candidate)
        except NotStored:
            continue
    return None


def place_in(manifest: Manifest, name: str) -> str:
    """Return where a name is in the artefact that covers it; "" for the artefact itself."""
    return name[len(manifest.name) + 1 :]


def bring(store: ArtefactStore, root: Path, name: str) -> bool:
    """Fetch what has that name to its place below `root`, unless something is there; return whether it is there now.
    Raises StorageProblem."""
    path = root / name
    if not path.exists() and (manifest := covering(store, name)) is not None:
        rest = place_in(manifest, name)
        if manifest.below(rest):
            store.fetch(manifest.name, path, rest)
    return path.exists()


def _names_above(name: str) -> Iterator[str]:
    """Yield a name and its folders', down to two parts: no artefact is as large as all runs."""
    parts = name.split("/")
    yield from ("/".join(parts[:count]) for count in range(len(parts), 1, -1))
