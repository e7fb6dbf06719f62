"""Read what an evaluation measured, item by item, from `items.jsonl` of its run directory, by place and not as a whole.

An index beside the file, `items.index.npz`, says where each line begins, and what a page sorts and filters by: group,
whether the model was right, whether the training data hold it, the value of the first metric for that item alone. It is
made when the run has ended, and again whenever it does not belong to the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from annotate.core.artefacts import local_copies
from common import atomic_files
from evaluation.metrics import definitions as families

FILE, INDEX = "items.jsonl", "items.index.npz"
YES, NO, UNKNOWN = 1, 0, -1
_VERSION = 1
# Of these metrics an item is right or wrong; of all others it has a value.
_RIGHT = ("accuracy", "pair accuracy", "win rate")
Row = dict[str, Any]


class Damaged(ValueError):
    """Raised when the file is not what the run left: a disk was full or failed. What it held can only be measured
    again."""


@dataclass(frozen=True)
class Index:
    """Columns of the n items, in the order of the file."""

    offsets: np.ndarray  # (n,) int64: where the line begins
    group: np.ndarray  # (n,) int32: place in `groups`; -1 is none
    groups: list[str]
    right: np.ndarray  # (n,) int8: YES, NO, UNKNOWN (a tie, or nothing that is right or wrong)
    seen: np.ndarray  # (n,) int8: YES, NO, UNKNOWN (too short to tell, or nobody looked)
    value: np.ndarray  # (n,) float64 of `metric` for the item alone; nan where it has none
    metric: str
    metrics: list[str]

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def tells_right(self) -> bool:
        return bool((self.right != UNKNOWN).any())

    @property
    def words(self) -> tuple[str, str, str]:
        """Return what YES, NO and UNKNOWN are called: an answer is right or wrong, a comparison won or lost."""
        return ("won", "lost", "tied") if "win rate" in self.metrics else ("right", "wrong", "neither")

    @property
    def higher_is_better(self) -> bool:
        return families.find(self.metric).higher_is_better is not False if self.metric else True


@dataclass(frozen=True)
class Choice:
    """Say which items, in which order. `order`: "" as measured, "worst" or "best" of the index's metric first."""

    group: str = ""
    right: int | None = None
    seen: int | None = None
    order: str = ""


def index_of(folder: Path) -> Index | None:
    """Return the index of a run's items; None where the run left none. Raises Damaged where they cannot be read."""
    file = local_copies.bring_file(folder / FILE)
    if not file.exists():
        return None
    state = file.stat()
    stamp = f"{_VERSION} {state.st_size} {state.st_mtime_ns}"
    try:
        return _read(file.with_name(INDEX), stamp) or _build(file, stamp)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{file.name} of this run is damaged; queue the run again.") from error


def chosen(index: Index, choice: Choice) -> np.ndarray:
    """Return the places of the items that fit, in order: (m,) int64."""
    fits = np.ones(len(index), dtype=bool)
    if choice.group:
        fits &= index.group == (index.groups.index(choice.group) if choice.group in index.groups else -2)
    if choice.right is not None:
        fits &= index.right == choice.right
    if choice.seen is not None:
        fits &= index.seen == choice.seen
    indices = np.flatnonzero(fits)
    if not choice.order:
        return indices
    badness = -index.value[indices] if index.higher_is_better else index.value[indices]
    return indices[np.argsort(-badness if choice.order == "worst" else badness, kind="stable")]  # nan is last


def read(folder: Path, index: Index, indices: np.ndarray) -> list[Row]:
    """Return the items at these places."""
    rows = []
    with local_copies.bring_file(folder / FILE).open("rb") as file:
        for item_index in indices:
            file.seek(int(index.offsets[item_index]))
            rows.append(json.loads(file.readline()))
    return rows


def read_all(folder: Path) -> Iterator[Row]:
    with local_copies.bring_file(folder / FILE).open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def value_of(metric: str, counts: list[float]) -> float | None:
    """Return the value of one item alone; None where it has none, such as a share of nothing."""
    value = _values(metric, [counts])[0]
    return float(value) if np.isfinite(value) else None


def _values(metric: str, rows: list[list[float]]) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(families.find(metric).value(np.array(rows, dtype=float)), dtype=float)


def _build(file: Path, stamp: str) -> Index:
    offsets: list[int] = []
    names: dict[str, int] = {}
    group, right, seen_values, counts = [], [], [], []
    metrics: list[str] = []
    offset = 0
    with file.open("rb") as lines:
        for line in lines:
            row = json.loads(line)
            metrics = metrics or list(row["counts"])
            offsets.append(offset)
            group.append(names.setdefault(row["group"], len(names)) if row.get("group") else -1)
            right.append(_is_right(row["counts"]))
            seen_values.append(UNKNOWN if row.get("contaminated") is None else int(row["contaminated"]))
            counts.append(row["counts"][metrics[0]] if metrics else [])
            offset += len(line)
    index = Index(
        offsets=np.array(offsets, dtype=np.int64),
        group=np.array(group, dtype=np.int32),
        groups=list(names),
        right=np.array(right, dtype=np.int8),
        seen=np.array(seen_values, dtype=np.int8),
        value=_values(metrics[0], counts) if metrics else np.full(len(offsets), np.nan),
        metric=metrics[0] if metrics else "",
        metrics=metrics,
    )
    _write(file.with_name(INDEX), index, stamp)
    return index


def _is_right(counts: dict[str, list[float]]) -> int:
    for name in _RIGHT:
        if name in counts:
            score, total = counts[name][:2]
            return UNKNOWN if not total else YES if score >= total else NO if score == 0 else UNKNOWN
    return UNKNOWN


def _write(path: Path, index: Index, stamp: str) -> None:
    header = {"stamp": stamp, "groups": index.groups, "metric": index.metric, "metrics": index.metrics}
    columns = {name: getattr(index, name) for name in _COLUMNS}
    with (
        atomic_files.replacing(path, writer=str(os.getpid()), is_synced=False) as partial,
        partial.open("wb") as file,
    ):
        np.savez(file, told=np.array(json.dumps(header)), **columns)


_COLUMNS = ("offsets", "group", "right", "seen", "value")


def _read(path: Path, stamp: str) -> Index | None:
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        body = json.loads(str(stored["told"]))
        if body.pop("stamp") != stamp:
            return None
        return Index(**body, **{name: stored[name] for name in _COLUMNS})
