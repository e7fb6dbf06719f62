"""Describe what is wrong with an installation, in one line that names the row, the file and the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from annotate.core.artefacts import local_copies


@dataclass(frozen=True)
class Fault:
    row: str  # for people, such as "dataset 3 (annotations)"
    place: str  # a path below ASSAY_DATA, an object of the storage, or a table
    problem: str
    remedy: str

    def __str__(self) -> str:
        return " ".join(f"{self.row}: {self.place} {self.problem} {self.remedy}".split())


@dataclass(frozen=True)
class Look:
    """Say how to look: `is_quick` reads no contents of files; `say` is told now and then what is being read."""

    is_quick: bool = False
    say: Callable[[str], None] = lambda text: None


Check = Callable[[Look], Iterator[Fault]]


def place_of(path: Path) -> str:
    return local_copies.name_of(path) or str(path)


def from_elsewhere(path: Path) -> str:
    """Return the remedy for a folder that is gone or damaged."""
    if local_copies.is_on():
        return (
            "Move away what is there; it is fetched again from ASSAY_STORAGE (manage.py store_artefacts --verify says "
            "whether it is whole there)."
        )
    return f"Move away what is there, and bring it back: manage.py restore BACKUP --only {place_of(path)}."


def without_hash(row: str, path: Path, content_hash: str, ways: Iterable[Callable[[], str]]) -> Fault | None:
    """Return the fault of a folder that has a row's hash by none of the ways to compute it, or cannot be read."""
    try:
        if any(compute() == content_hash for compute in ways):
            return None
        problem = "does not have its hash."
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({error})."
    return Fault(row, place_of(path), problem, from_elsewhere(path))


def missing(path: Path, row: str, *, otherwise: str = "") -> Fault | None:
    """Return the fault of a file or folder that is neither here nor in the storage; `otherwise` is another remedy."""
    if local_copies.is_available(path):
        return None
    where = "is neither on this host nor in ASSAY_STORAGE." if local_copies.is_on() else "is not there."
    remedy = f"Bring it back: manage.py restore BACKUP --only {place_of(path)}{otherwise}."
    return Fault(row, place_of(path), where, remedy)
