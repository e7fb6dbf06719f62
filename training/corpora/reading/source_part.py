"""A part of a source that is read by itself, with a place to go on from, and the text of one of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.core.run_directory import RecipeFailure

Row = dict[str, Any]


@dataclass
class Part:
    """Read one part of a source. `read(part, skip)` gives the rows after the first `skip`; `position` of `size` says
    how far it is."""

    order: int
    source: str
    read: Callable[[Part, int], Iterator[str | None]]
    size: int = 0  # bytes on disk; 0 where nobody knows
    position: int = 0
    rows: int = 0  # 0 where nobody knows
    state: Callable[[], Row | None] = field(default=lambda: None)  # a Hub stream's own place
    resume_from: Row | None = None


def text_of(row: Any, fields: Sequence[str]) -> str | None:
    """Return the text of a row: its first field of those named that holds any."""
    if not isinstance(row, dict):
        return None
    return next((row[name] for name in fields if isinstance(row.get(name), str) and row[name].strip()), None)


def no_field(name: str, row: Any, fields: Sequence[str]) -> RecipeFailure:
    has = f"it has {', '.join(map(str, list(row)[:12]))}" if isinstance(row, dict) else "it is not a JSON object"
    return RecipeFailure(
        "no_text_field",
        f"The first row of {name} has no text in {' or '.join(fields)}; {has}.",
        "Enter the field with the text in text_field.",
    )
