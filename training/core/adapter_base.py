"""Find the folder of the full weights that an adapter's folder names. Knows neither torch nor Django."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

CONFIG, ABOUT = "adapter_config.json", "base.json"


def is_adapter(folder: str | Path) -> bool:
    return (Path(folder) / CONFIG).is_file()


def find_base(folder: Path) -> Path | None:
    """Return an adapter's base, also where both have moved together; None when it is gone.

    Raises OSError or ValueError for files that cannot be read."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return locate_base(folder, str(config.get("base_model_name_or_path") or ""), read_about(folder))


def read_about(folder: Path) -> dict[str, str]:
    """Return base.json; empty where another program made the adapter."""
    path = folder / ABOUT
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def locate_base(folder: Path, named: str, about: Mapping[str, str]) -> Path | None:
    """Return the base of the adapter in `folder`, by what its two files say; None when it is gone."""
    folders = candidates(folder, about.get("folder", str(Path(named))), about.get("was", str(Path(named))))
    return next((p for p in folders if (p / "config.json").is_file() and not is_adapter(p)), None)


def candidates(folder: Path, named: str, old_path: str) -> Iterator[Path]:
    """Yield where a folder may be that another one names: relative to it; its old path; the same place below an
    ancestor, for a data folder that has moved."""
    yield folder / named
    absolute = Path(old_path or named)
    yield absolute
    if absolute.is_absolute():
        tails = [Path(*absolute.parts[i:]) for i in range(1, len(absolute.parts))]
        yield from (ancestor / tail for ancestor in folder.resolve().parents for tail in tails)
