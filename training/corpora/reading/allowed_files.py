"""Allow a corpus to be read from files in the folders that the operator allows, and from no other.

A person at a web page names the files, and the process that opens them can read more than that person may.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from training.configs.corpus_sources import BadSource, Order

FOLDERS_VARIABLE = "ASSAY_CORPUS_FOLDERS"
_MOST_FILES = 100_000


def folders_of(variable: str) -> list[Path]:
    """Return the folders that an environment variable names, as PATH does."""
    return [Path(part) for part in variable.split(os.pathsep) if part]


def files_of(order: Order, folders: Sequence[Path]) -> list[Path]:
    """Return the files that a line names, in order of their names. Raises BadSource.

    A relative name is looked for in each folder in turn. Where a link leads out of the folders, it is refused;
    what lies outside them is refused before anybody looks whether it is there.
    """
    allowed = [Path(folder).absolute() for folder in folders]
    name = Path(order.name)
    if name.is_absolute():
        inside = [(folder, name.relative_to(folder)) for folder in allowed if name.is_relative_to(folder)]
        if not inside:
            raise BadSource(_outside(order.name, allowed))
    else:
        inside = [(folder, name) for folder in allowed]
    for folder, pattern in inside:
        if paths := _matches(folder, str(pattern)):
            return _checked(order, paths, allowed)
    raise BadSource(
        f"{order.name} matches no file in {_folders_text(allowed)}; upload it, or ask the operator to put it there."
    )


def _matches(folder: Path, pattern: str) -> list[Path]:
    """List the files that match; a file of that very name first: a name may hold brackets."""
    if (folder / pattern).is_file():
        return [folder / pattern]
    try:
        return sorted(folder.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise BadSource(
            f"{pattern} is not a pattern: {error}; use a pattern such as books/*.txt or **/*.jsonl.gz."
        ) from error


def _checked(order: Order, paths: list[Path], allowed: list[Path]) -> list[Path]:
    real = [folder.resolve() for folder in allowed]
    if len(paths) > _MOST_FILES:
        raise BadSource(f"{order.name} matches {len(paths)} files; the limit is {_MOST_FILES}.")
    for file in paths:
        path = file.resolve()
        if not any(path.is_relative_to(folder) for folder in real):
            raise BadSource(_outside(order.name, allowed))
        if not path.is_file():
            raise BadSource(f"{order.name} matches {file.name}, which is not a plain file; use files only.")
    return paths


def _outside(name: str, allowed: list[Path]) -> str:
    return (
        f"{name} is outside the allowed folders: {_folders_text(allowed)}. Upload the file, or ask the "
        f"operator to put it there or to add its folder to {FOLDERS_VARIABLE}."
    )


def _folders_text(folders: list[Path]) -> str:
    return ", ".join(str(folder) for folder in folders) or f"any folder, for none is allowed by {FOLDERS_VARIABLE}"
