"""Read and write the sample project's fixture: rows as JSON lines, files of runs and datasets, adapters.

    manifest.json             version, the day of the turn, rows and columns of each table, and the migrations then
    tables/APP.MODEL.jsonl.gz one row a line, keyed by column attribute, ids as they were
    files.tar.xz              runs/000004/…, datasets/HASH/…: what the pages read, without weights
    adapters/000004.safetensors  weights of a child, by the run that made it

Texts hold marks where an installation's own names stand: its data folder, its base model, the numbers of its runs.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).with_name("fixture")
VERSION = 1
REMEDY = "Make it again from a finished turn with manage.py export_sample; see evaluation/sample/fixture/README.md."
DATA, BASE = "@@data@@", "@@base@@"
MARK = "@@"  # a text without it holds none of the marks
_RUN_MARK = re.compile(r"@@run:(\d+)(:padded)?@@")
_RUN_PATH = re.compile(r"\bruns/(\d{6})\b")
_RUN_NAMED = re.compile(r"\brun (\d+)(?=, seed |$)")
Row = dict[str, Any]


class StaleFixture(Exception):
    """The fixture does not fit this version of the code: what differs, and what to do, in words."""


def manifest(folder: Path = FIXTURE) -> Row:
    """Return the manifest. Raises StaleFixture where there is none or its layout is another."""
    try:
        found: Row = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StaleFixture(f"The sample project's manifest in {folder} cannot be read: {error}. {REMEDY}") from error
    if found.get("version") != VERSION:
        raise StaleFixture(f"The sample project's layout is version {found.get('version')}, not {VERSION}. {REMEDY}")
    return found


def read_rows(label: str, folder: Path = FIXTURE) -> list[Row]:
    with gzip.open(folder / "tables" / f"{label}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write_rows(label: str, rows: Iterable[Row], folder: Path) -> None:
    """Write one table; the same rows make the same bytes."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path = folder / "tables" / f"{label}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read_files(folder: Path = FIXTURE) -> dict[str, bytes]:
    """Return the files of runs and datasets by their path below ASSAY_DATA."""
    with tarfile.open(folder / "files.tar.xz") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]


def write_files(files: dict[str, bytes], folder: Path) -> None:
    with tarfile.open(folder / "files.tar.xz", "w:xz", preset=9) as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def marked(text: str, *, data: str, base: str) -> str:
    """Return a text with marks for what is an installation's own: `data` is its folder, `base` its base model's."""
    text = text.replace(base, BASE).replace(data, DATA)
    text = _RUN_PATH.sub(lambda found: f"runs/@@run:{int(found[1])}:padded@@", text)
    return _RUN_NAMED.sub(r"run @@run:\1@@", text)


def unmarked(text: str, *, data: str, base: str, runs: dict[int, int]) -> str:
    """Return the text for another installation, whose runs have other numbers."""

    def run(found: re.Match[str]) -> str:
        number = runs[int(found[1])]
        return f"{number:06d}" if found[2] else str(number)

    return _RUN_MARK.sub(run, text.replace(DATA, data).replace(BASE, base))


def in_texts(value: Any, change: Callable[[str], str]) -> Any:
    """Return JSON with `change` applied to every string in it, keys included."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [in_texts(each, change) for each in value]
    if isinstance(value, dict):
        return {change(key): in_texts(each, change) for key, each in value.items()}
    return value
