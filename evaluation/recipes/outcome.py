"""What an evaluation leaves behind: items with what each counted, and figures that follow from them.

`items.jsonl` in the run directory, one line for each item: {"id", "group", "contaminated", "counts": {metric: [...]},
"shown": {...}}. `counts` are the sums that the metric of that name is a function of (evaluation.metrics.families), so
that any two runs on the same items can be compared item by item. `shown` is for people: prompt, answer, references.

`result.json`: {"measure", "task", "items_hash", "signature", "n", "contaminated", "metrics": {name: figure},
"groups": {group: {name: figure}}}, with figure = {value, standard_error, lower, upper, n, higher_is_better, "clean":
the same without contaminated items, or null}.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Item:
    """One thing measured. `id` and the text behind it are the same for every model."""

    id: str
    text: str  # what is hashed and searched for in the training data: prompt, passage, candidates
    counts: dict[str, list[float]]
    shown: dict[str, Any]
    group: str = ""


@dataclass(frozen=True)
class Measured:
    """What a measure hands over. `figures` are those that no sum of counts gives, such as a fitted win rate."""

    task: str
    items: list[Item]
    signature: str  # library and version, settings; hashes of data and model are added
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # what a reader must know, in whole sentences
