"""Open a dataset of the Hugging Face hub as a stream: nothing is downloaded as a whole, and no code of theirs is
run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


class FolderInTheWay(Exception):
    """A folder here has the dataset's name: `datasets` would read it before it asks the hub."""


def is_local(name: str, folder: Path) -> bool:
    """Return whether there is anything of that name in `folder`."""
    return os.path.lexists(folder / name)


def open_stream(name: str, config: str, split: str) -> Any:
    """Return the split as an iterable of rows. Raises FolderInTheWay, and what `datasets` raises; importing it takes
    seconds."""
    if is_local(name, Path.cwd()):
        raise FolderInTheWay(name)
    import datasets

    return datasets.load_dataset(name, config or None, split=split, streaming=True)
