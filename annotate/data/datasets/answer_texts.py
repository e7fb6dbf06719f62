"""Read answers and their prompts for the rows of a dataset, in parts, so that it can be told how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from django.db.models import QuerySet

from annotate.models import Completion, Prompt

_CHUNK = 500
_READ, _ANSWERED = 0.25, 0.75  # of the work of freezing: when the feedback is read, and when the answers are
Tell = Callable[[str, float], None]  # what is being done, and the share of all that is done


def silent(stage: str, share: float) -> None:
    """Tell nobody how far it is."""


class Answer(NamedTuple):
    """Hold what a row says of an answer, without a model's object for each of them and for its prompt."""

    id: int
    prompt_id: int
    text: str
    finish_reason: str
    messages: list[dict[str, str]]


def answers_by_id(ids: Iterable[int], tell: Tell) -> dict[int, Answer]:
    """Return the answers, in ascending order of their ids."""
    half = (_READ + _ANSWERED) / 2
    answers = Completion.objects.values_list("id", "prompt_id", "text", "finish_reason")
    rows = list(_in_parts(answers, ids, lambda done: tell("reading answers", _READ + done * (half - _READ))))
    prompts = Prompt.objects.values_list("id", "messages")
    asked = {row[1] for row in rows}
    messages_of = dict(_in_parts(prompts, asked, lambda done: tell("reading prompts", half + done * (half - _READ))))
    return {pk: Answer(pk, prompt, text, reason, messages_of[prompt]) for pk, prompt, text, reason in rows}


def _in_parts(rows: QuerySet, ids: Iterable[int], tell: Callable[[float], None]) -> Iterator[Any]:
    ordered = sorted(ids)
    for start in range(0, len(ordered), _CHUNK):
        tell(start / len(ordered))
        yield from rows.filter(id__in=ordered[start : start + _CHUNK]).order_by("id")
