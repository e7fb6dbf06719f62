"""Write what an evaluation measured: items with what each counted, and figures that follow from them.

`items.jsonl` in the run directory, one line for each item: {"id", "hash", "group", "contaminated", "seen_in", "counts":
{metric: [...]}, "shown": {...}}. `counts` are the sums that the metric of that name is a function of
(evaluation.metrics.definitions), so that any two runs on the same items can be compared item by item. `hash` is that of
what was asked. `contaminated` is true, false, or null where the item is too short to tell or nobody looked; `seen_in`
names the training files that hold it. `shown` is for people: prompt, answer, references.

`result.json`: {"measure", "task", "items_hash", "signature", "n", "contaminated", "too_short", "metrics": {name:
figure}, "groups": {group: {name: figure}}, "notes": [sentences]}, with figure = {value, standard_error, lower, upper,
n, higher_is_better, "clean": the same without contaminated items, or null}. Standard error and ends are null where the
items are too few.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import atomic_files
from evaluation.metrics import definitions as families
from evaluation.metrics import figure_intervals as intervals
from evaluation.recipes.common import contamination
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec

NOT_LOOKED = "This run did not search for items in the training data, because the option is off."


@dataclass(frozen=True)
class Item:
    """One thing measured. `id` and the text behind it are the same for every model.

    `text` is what was asked, references included, and is hashed. `searched` are the texts that are looked for in the
    training data, one of which is enough; without them it is `text`.
    """

    id: str
    text: str
    counts: dict[str, list[float]]
    shown: dict[str, Any]
    group: str = ""
    searched: tuple[str, ...] = ()


Fitted = Callable[[list[Item]], dict[str, Row | None]]  # figures of such items, without "clean"; None takes one away


@dataclass(frozen=True)
class Measured:
    """Hold what a measure hands over. `figures` and `fitted` are those that no sum of counts gives.

    `fitted` gives its figures of all items, of those of a group, and of those that no training data held; one of the
    name of a count replaces the count's, such as a win rate whose interval goes by voters.
    """

    task: str
    items: list[Item]
    signature: str  # library and version, settings; hashes of data and model are added
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what a reader must know, in whole sentences
    fitted: Fitted | None = None


def finish(run: RunDirectory, spec: RunSpec, config: Any, measured: Measured) -> None:
    """Write items and figures. Raises RecipeFailure for no items, ids that repeat, and counts that make no number."""
    items = measured.items
    _check(items)
    marks = None
    if config.contamination and spec.trained_on:
        marks = contamination.mark(run, [item.searched or (item.text,) for item in items], spec.trained_on)
    is_contaminated = np.array([bool(names) for names in marks.seen_in]) if marks else np.zeros(len(items), dtype=bool)
    _write_items(run.path / "items.jsonl", items, marks)
    notes = [*measured.notes, *(_contamination_notes(marks, is_contaminated) if config.contamination else [NOT_LOOKED])]
    figures = Figures(items, is_contaminated if marks else None, config.draws, spec.seed, notes, measured.fitted)
    groups = sorted({item.group for item in items if item.group})
    of_items = items_hash(items)
    run.finish(
        {
            "measure": config.measure,
            "task": measured.task,
            "items_hash": of_items,
            "signature": _signature(spec, config, measured, of_items),
            "n": len(items),
            "contaminated": int(is_contaminated.sum()),
            "too_short": sum(marks.too_short) if marks else 0,
            "metrics": {**figures.of(""), **measured.figures},
            "groups": {group: figures.of(group) for group in groups},
            "notes": list(dict.fromkeys(notes)),
        }
    )


def items_hash(items: Iterable[Item]) -> str:
    """Return the hash of ids and of what was asked, whatever a model said and in whatever order: figures with one hash
    compare."""
    lines = sorted(json.dumps([item.id, item.text], ensure_ascii=False) for item in items)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass
class Figures:
    """The figures of all items or of one group; what is too small for an interval is added to `notes`."""

    items: list[Item]
    is_contaminated: np.ndarray | None
    draws: int
    seed: int
    notes: list[str]
    fitted: Fitted | None = None

    def of(self, group: str) -> dict[str, Row]:
        chosen = np.array([not group or item.group == group for item in self.items])
        fitted = self._fitted(chosen)
        names = [name for name in self.items[0].counts if name not in fitted]
        figures = {**{name: self._figure(name, chosen, group) for name in names}, **fitted}
        return {name: row for name, row in figures.items() if row is not None}

    def _fitted(self, chosen: np.ndarray) -> dict[str, Row | None]:
        if self.fitted is None:
            return {}
        figures = self.fitted([self.items[i] for i in np.flatnonzero(chosen)])
        clean: dict[str, Row | None] = {}
        if self.is_contaminated is not None:
            unseen = [self.items[i] for i in np.flatnonzero(chosen & ~self.is_contaminated)]
            clean = self.fitted(unseen) if unseen else {}
        return {name: row and {**row, "clean": clean.get(name)} for name, row in figures.items()}

    def _figure(self, name: str, chosen: np.ndarray, group: str) -> Row | None:
        rows = [item.counts[name] for item, is_chosen in zip(self.items, chosen, strict=True) if is_chosen]
        row = self._of(name, rows, group)
        if row is None or self.is_contaminated is None:
            return row and {**row, "clean": None}
        clean = [row for row, was_seen in zip(rows, self.is_contaminated[chosen], strict=True) if not was_seen]
        if len(clean) == len(rows):
            return {**row, "clean": dict(row)}
        return {**row, "clean": self._of(name, clean, f"{group} without seen items".strip()) if clean else None}

    def _of(self, name: str, rows: list[list[float]], group: str) -> Row | None:
        try:
            figure = intervals.figure(families.find(name), _matrix(name, rows), self.draws, self.seed)
        except intervals.TooLarge as error:  # which takes nothing from the other figures
            self.notes.append(f"{group}: {error}" if group else str(error))
            return None
        except ValueError as error:
            raise RecipeFailure(
                "not_a_number", f"There is no valid figure: {error}", "Check the items, and leave out empty ones."
            ) from error
        if figure.note:
            self.notes.append(f"{group}: {figure.note}" if group else figure.note)
        return {key: getattr(figure, key) for key in _KEPT}


_KEPT = ("value", "standard_error", "lower", "upper", "n", "higher_is_better")


def _matrix(name: str, rows: list[list[float]]) -> np.ndarray:
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{name}: items counted different numbers of things.")
    return np.array(rows, dtype=float)


def _check(items: Sequence[Item]) -> None:
    if not items:
        raise RecipeFailure("no_items", "There are no items to measure on.", "Add at least one item to the task.")
    ids: set[str] = set()
    for item in items:
        if item.id in ids:
            raise RecipeFailure(
                "id_repeats", f"Two items have the id {item.id!r}.", "Give each item of the task a unique id."
            )
        ids.add(item.id)
        if item.counts.keys() != items[0].counts.keys():
            raise RecipeFailure(
                "counts_missing",
                f"The item {item.id} counted {sorted(item.counts)} and the first one {sorted(items[0].counts)}.",
                "This is a fault of the measure: every item counts the same things.",
            )


def _write_items(path: Path, items: list[Item], marks: contamination.Marks | None) -> None:
    # Half a surrogate pair is shown nowhere.
    with atomic_files.replacing(path) as partial, partial.open("w", encoding="utf-8", errors="replace") as file:
        for number, item in enumerate(items):
            names = marks.seen_in[number] if marks else []
            is_contaminated = None if marks is None or marks.too_short[number] else bool(names)
            row = {
                "id": item.id,
                "hash": hashlib.sha256(item.text.encode("utf-8", "surrogatepass")).hexdigest()[:16],
                "group": item.group,
                "contaminated": is_contaminated,
                "seen_in": names,
                "counts": item.counts,
                "shown": item.shown,
            }
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _contamination_notes(marks: contamination.Marks | None, is_contaminated: np.ndarray) -> list[str]:
    """Return what a reader must know of the search for items in the training data."""
    if marks is None:
        return ["The training data of this model is not known here, so items were not searched for in it."]
    n, n_contaminated, short = len(is_contaminated), int(is_contaminated.sum()), sum(marks.too_short)
    notes = [
        f"{n_contaminated} of {n} items {'is' if n_contaminated == 1 else 'are'} in the training data "
        f"({contamination.RULE})."
    ]
    if short:
        phrase = f"fewer than {contamination.FEWEST_WORDS} words of their own"
        notes.append(f"{short} item{' has' if short == 1 else 's have'} {phrase}: too short to check.")
    if n_contaminated == n:
        notes.append("All items were seen in training, so there is no figure without seen items.")
    return notes


def _signature(spec: RunSpec, config: Any, measured: Measured, of_items: str) -> str:
    model = spec.parent_hash or _hash_of(spec.parent)
    hashes = f"items {of_items[:12]}, model {model[:12] or 'unknown'}, {config.draws} draws"
    return f"{hashes}; {measured.signature}" if measured.signature else hashes


def _hash_of(folder: str) -> str:
    """Return the hash for a run whose database did not tell the hash of its weights."""
    if not folder or not (Path(folder) / "config.json").is_file():
        return ""
    from training.recipes.common.loading import weights_hash  # imports torch, which a hash that is told does not need

    return weights_hash(folder)
