"""The items of choices of a run: those of its dataset, or those of a suite that comes with the project."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from annotate.data.rows.choice_items import ChoiceItem, read_choice
from training.core.run_directory import RecipeFailure, Row, read_lines

TOLD = 3  # bad lines named in a failure


@dataclass(frozen=True)
class Place:
    """Say where an item was read, for people who look for it."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line} of {self.file}"


@dataclass(frozen=True)
class Items:
    """Hold the items of a task: `chosen` to be measured; `others` are beyond the limit. `places` are those of the
    chosen."""

    chosen: list[ChoiceItem]
    places: list[Place]
    others: list[ChoiceItem]


def read_folder(folder: Path) -> Iterator[tuple[Place, Row]]:
    for path in sorted(folder.glob("*.jsonl")):
        for line, row in enumerate(read_lines(path), start=1):
            yield Place(path.name, line), row


def read_items(rows: Iterable[tuple[Place, Row]], limit: int) -> Items:
    """Return at most `limit` items, drawn by hash, in the order of the file.

    Raises RecipeFailure when there is none, or a line is none: a task with its hard items left out is another task.
    """
    placed_items: list[tuple[Place, ChoiceItem]] = []
    bad: list[str] = []
    for place, row in rows:
        try:
            placed_items.append((place, read_choice(row)))
        except ValueError as error:
            bad.append(f"{str(place).capitalize()} {error}")
    if bad:
        raise RecipeFailure(
            "bad_item",
            f"{' '.join(bad[:TOLD])}{f' And {len(bad) - TOLD} more.' if len(bad) > TOLD else ''}",
            "Correct these lines, or leave them out, and upload the task again.",
        )
    if not placed_items:
        raise RecipeFailure(
            "no_items", "There are no items with choices.", "Choose a task of choices, or one of the suites."
        )
    named = _named([item for _, item in placed_items])
    order = sorted(range(len(named)), key=lambda i: hashlib.sha256(named[i].text.encode("utf-8")).digest())
    chosen = sorted(order[:limit])
    rest = sorted(order[limit:])
    return Items([named[i] for i in chosen], [placed_items[i][0] for i in chosen], [named[i] for i in rest])


def _named(items: list[ChoiceItem]) -> list[ChoiceItem]:
    """Return each with an id that no other has: its own, else its number."""
    names = unique_names([item.id or str(number) for number, item in enumerate(items, start=1)])
    return [replace(item, id=name) for item, name in zip(items, names, strict=True)]


def unique_names(names: list[str]) -> list[str]:
    """Make names unique by a number: the second `7` is `7 (2)`."""
    counts: Counter[str] = Counter()
    unique = []
    for name in names:
        counts[name] += 1
        unique.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return unique
