"""Paired differences between two runs on the same items, and what each run left of its items."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from django.core.cache import cache

from evaluation.measures import item_store as items
from evaluation.metrics import definitions as families
from evaluation.metrics import paired_tests
from evaluation.metrics.paired_tests import Difference
from training.models import Run

VERSION = 2  # of what is kept in the cache
MOST_GROUPS = 100


@dataclass(frozen=True)
class Columns:
    """The items of one run, in the order of their ids."""

    ids: list[str]
    hashes: dict[str, str]
    seen: np.ndarray  # (n,) bool
    group: np.ndarray  # (n,) str
    counts: dict[str, np.ndarray]  # metric -> (n, k)


@dataclass(frozen=True)
class Pair:
    """Two runs item by item. `clean` leaves out what either model had seen; `refused` says why there is nothing."""

    all: dict[str, Difference] = field(default_factory=dict)
    clean: dict[str, Difference] = field(default_factory=dict)
    n: int = 0
    n_clean: int = 0
    refused: str = ""


def pair(first: Run, second: Run) -> Pair:
    """Return every metric that both counted, on all items and on those that neither had seen; kept once it is
    computed."""
    key = f"pair:{VERSION}:{_stamp(first)}:{_stamp(second)}"
    pair: Pair | None = cache.get(key)
    if pair is None:
        pair = _pair(first, second)
        if not _missing_items(first, second):  # what is gone may come back
            cache.set(key, pair, None)
    return pair


def by_group(first: Run, second: Run, metric: str) -> dict[str, Difference]:
    """Return the difference on each part of the task: for whom, or at what, the second is better. Kept like `pair`."""
    key = f"pair-groups:{VERSION}:{_stamp(first)}:{_stamp(second)}:{hashlib.sha256(metric.encode()).hexdigest()[:16]}"
    differences: dict[str, Difference] | None = cache.get(key)
    if differences is None:
        differences = _by_group(first, second, metric)
        if not _missing_items(first, second):
            cache.set(key, differences, None)
    return differences


def _by_group(first: Run, second: Run, metric: str) -> dict[str, Difference]:
    one, other = columns(first), columns(second)
    if one is None or other is None or metric not in one.counts or metric not in other.counts:
        return {}
    groups = sorted(set(one.group) - {""})[:MOST_GROUPS]
    draws, seed = int(first.config.get("draws", 1000)), first.seed
    differences = ((g, _difference(metric, one, other, one.group == g, draws, seed)) for g in groups)
    return {str(group): difference for group, difference in differences if difference is not None}


def _stamp(run: Run) -> str:
    """Return the key of a run. A run of another database, at the same number, is another run."""
    return f"{run.pk}-{run.created_at.timestamp():.0f}-{run.result['items_hash'][:12]}"


def _pair(first: Run, second: Run) -> Pair:
    one, other = columns(first), columns(second)
    if one is None or other is None:
        return Pair(refused=_missing_items(first, second))
    try:
        paired_tests.check_same(one.hashes, other.hashes)
    except paired_tests.NotTheSameItems as error:
        return Pair(refused=str(error))
    clean = ~(one.seen | other.seen)
    metrics = [name for name in one.counts if name in other.counts and is_known(name)]
    draws, seed = int(first.config.get("draws", 1000)), first.seed
    return Pair(
        {name: d for name in metrics if (d := _difference(name, one, other, np.ones_like(clean), draws, seed))},
        {name: d for name in metrics if clean.any() and (d := _difference(name, one, other, clean, draws, seed))},
        len(clean),
        int(clean.sum()),
    )


def _missing_items(*runs: Run) -> str:
    """Name the first run whose items are gone; "" where all are there."""
    run_without_items = next((run for run in runs if not _has_items(run)), None)
    return (
        f"The items of run {run_without_items.pk} are no longer on the disk; measure {run_without_items.parent} again."
        if run_without_items
        else ""
    )


def _has_items(run: Run) -> bool:
    try:
        return items.index_of(run.path) is not None
    except items.Damaged:
        return False


def _difference(
    name: str, one: Columns, other: Columns, chosen: np.ndarray, draws: int, seed: int
) -> Difference | None:
    """Return None where a metric of these items is no number, as a ratio over nothing is."""
    first, second = one.counts[name][chosen], other.counts[name][chosen]
    if first.shape != second.shape:
        return None
    try:
        return paired_tests.difference(families.find(name), first, second, draws, seed)
    except ValueError:
        return None


def is_known(name: str) -> bool:
    try:
        families.find(name)
    except ValueError:
        return False
    return True


def columns(run: Run) -> Columns | None:
    """Return what the items of a run counted; None where they are gone."""
    if not _has_items(run):
        return None
    rows = sorted(items.read_all(run.path), key=lambda row: str(row["id"]))
    names = list(rows[0]["counts"]) if rows else []
    return Columns(
        [str(row["id"]) for row in rows],
        {str(row["id"]): str(row.get("hash", "")) for row in rows},
        np.array([row.get("contaminated") is True for row in rows]),
        np.array([row.get("group", "") for row in rows]),
        {name: np.array([row["counts"][name] for row in rows], dtype=float) for name in names},
    )
