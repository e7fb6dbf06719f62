"""Read answers and their prompts for the rows of a dataset, in parts: none of them need fit in memory together, and it
can be told how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from annotate.core.errors import Refused
from annotate.data.frozen_rows import Row
from annotate.models import Completion, Demonstration, Prompt

_PART = 500
_SELECTED, _WRITTEN = 0.5, 0.9  # of the work of freezing: when the rows are chosen, and when they are written
Tell = Callable[[str, float], None]  # what is being done, and the share of all that is done
Read = Callable[[Sequence[int]], Mapping[int, Row]]  # rows by their ids


def silent(stage: str, share: float) -> None:
    """Tell nobody how far it is."""


class RowsInParts:
    """Hold the ids of rows, and read a part of the rows at a time whenever somebody goes through them.

    `sources` are ids, in the order of the rows, each with what reads them. Going through them raises Refused where one
    is there no longer.
    """

    def __init__(self, *sources: tuple[Sequence[int], Read], tell: Tell = silent) -> None:
        self._sources, self._tell = sources, tell

    def __len__(self) -> int:
        return sum(len(ids) for ids, _ in self._sources)

    def __iter__(self) -> Iterator[Row]:
        done = 0
        for ids, read in self._sources:
            for part in _parts(ids):
                self._tell("writing files", _SELECTED + done / len(self) * (_WRITTEN - _SELECTED))
                rows = read(part)
                if gone := [pk for pk in part if pk not in rows]:
                    raise Refused(
                        409, feedback=f"{len(gone)} of its rows were deleted or moved meanwhile; freeze it again."
                    )
                yield from (rows[pk] for pk in part)
                done += len(part)


class Answer(NamedTuple):
    """Hold what a row says of an answer, without a model's object for each of them and for its prompt."""

    id: int
    prompt_id: int
    text: str
    finish_reason: str
    messages: list[dict[str, str]]


class AnswerText(NamedTuple):
    id: int
    prompt_id: int
    text: str
    finish_reason: str


def answer_texts(ids: Sequence[int], tell: Tell) -> Iterator[AnswerText]:
    """Yield the answers without their prompts, in the order of `ids`."""
    for number, part in enumerate(_parts(ids)):
        tell("reading answers", _SELECTED / 2 + number * _PART / len(ids) * _SELECTED / 2)
        rows = _texts(part)
        yield from (rows[pk] for pk in part if pk in rows)


def answers(ids: Sequence[int]) -> dict[int, Answer]:
    """Return some answers with their prompts, by id."""
    rows = _texts(ids)
    messages = messages_of({row.prompt_id for row in rows.values()})
    return {pk: Answer(*row, messages[row.prompt_id]) for pk, row in rows.items()}


def messages_of(prompts: Sequence[int] | set[int]) -> dict[int, list[dict[str, str]]]:
    """Return the messages of some prompts, by id."""
    return dict(Prompt.objects.filter(pk__in=prompts).order_by().values_list("id", "messages"))


def demonstrations(ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the text, prompt_id and prompt of some demonstrations, by id."""
    rows = Demonstration.objects.filter(pk__in=ids).order_by()
    return {
        pk: {"prompt_id": prompt, "prompt": messages, "text": text}
        for pk, prompt, messages, text in rows.values_list("id", "prompt_id", "prompt__messages", "text")
    }


def _texts(ids: Sequence[int]) -> dict[int, AnswerText]:
    rows = Completion.objects.filter(pk__in=ids).order_by().values_list(*AnswerText._fields)
    return {row[0]: AnswerText(*row) for row in rows}


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[start : start + _PART] for start in range(0, len(ids), _PART))
