"""What a benchmark does where something from outside is missing: one plain sentence, and exit status 2."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn


def refuse(sentence: str) -> NoReturn:
    """End the process with a sentence on stderr. It names what is missing and what to do."""
    print(sentence, file=sys.stderr)
    raise SystemExit(2)


def require_file(path: Path, what: str) -> Path:
    """Return the path of a file that is there, or refuse."""
    if not path.is_file():
        refuse(f"There is no file {path}: name the file of {what}.")
    return path


def require_model(folder: Path) -> Path:
    """Return a folder that holds a model, or refuse."""
    if not (folder / "config.json").is_file():
        refuse(f"There is no model in {folder}: name a folder with a config.json, as `save_pretrained` writes it.")
    return folder
