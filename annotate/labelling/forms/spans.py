"""Check spans against the texts that they mark and the labels that the project has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from annotate.core.errors import Refused
from annotate.models import Completion, Scale

MOST = 200
_LIKE = "send {completion, start, end, label}, start and end in code points from 0, end exclusive"


@dataclass(frozen=True)
class Mark:
    completion: Completion
    start: int
    end: int
    label: str

    @property
    def text(self) -> str:
        return self.completion.text[self.start : self.end]


def read_marks(spans: object, completions: Sequence[Completion], labels: Sequence[Scale]) -> list[Mark]:
    """Return the spans in the order sent. Raises Refused at the first that is wrong."""
    if not isinstance(spans, list):
        raise Refused(spans=f"This is not a list of spans; {_LIKE}.")
    if spans and not labels:
        raise Refused(spans="This project has no span labels; leave spans out, or ask a manager to add labels.")
    if len(spans) > MOST:
        raise Refused(413, spans=f"There are {len(spans)} spans; the limit is {MOST}.")
    by_id = {completion.pk: completion for completion in completions}
    names = [scale.name for scale in labels]
    marks = [_read(number, span, by_id, names) for number, span in enumerate(spans, start=1)]
    if len(set(marks)) < len(marks):
        raise Refused(spans="The same characters are marked twice with one label; remove one of the spans.")
    return marks


def _read(number: int, span: Any, by_id: dict[int, Completion], names: list[str]) -> Mark:
    def refuse(problem: str) -> Refused:
        return Refused(spans=f"Span {number}: {problem}.")

    if not isinstance(span, dict) or set(span) != {"completion", "start", "end", "label"}:
        raise refuse(f"this is not a span; {_LIKE}")
    completion = by_id.get(span["completion"]) if type(span["completion"]) is int else None
    if completion is None:
        raise refuse("it marks an answer that is not part of this item; use one of the item's answers")
    start, end, label = span["start"], span["end"], span["label"]
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(completion.text):
        raise refuse(f"{start!r} to {end!r} is not within its {len(completion.text)} characters, counted from 0")
    if label not in names:
        raise refuse(f"{label!r} is not a label of this project; use one of {', '.join(names)}")
    return Mark(completion, start, end, label)
