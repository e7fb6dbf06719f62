"""Prepare an item of a file for writing: check it, and compute its hashes and its split.

Done outside of any transaction, so that others write meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from annotate.core.errors import Refused
from annotate.data.formats.items import (
    Item,
    Messages,
    NewAnswers,
    NewAttack,
    NewComparison,
    NewDemonstration,
    NewFlag,
    NewPrompt,
    NewRanking,
    NewRating,
    NewSpan,
    Row,
)
from annotate.data.prompts.actions import check_messages, check_text
from common import reasoning, splits

MOST_RANKED = 10  # their pairs grow with the square
LONGEST_EXTRA, DEEPEST_EXTRA = 200_000, 100
_LONGEST_COMMENT = 10_000
_LONGEST_NAME = 120
_LONGEST = 1e9  # seconds


class Answer(NamedTuple):
    """A completion that an item names: its text, the hash of the file's text, the model that the file names."""

    text: str
    hash: str
    model: str
    reasoning: str = ""


class Ready(NamedTuple):
    """Hold an item ready to be stored. `answers` in the item's own order; `messages` as they are stored."""

    line: int
    item: Item
    messages: Messages
    text_hash: str
    side: str
    answers: tuple[Answer, ...]


def prepare(item: Item, *, line: int, eval_percent: int) -> Ready:
    """Return the item ready to write. Raises ValueError in words for what cannot be stored."""
    question = _question(item)
    try:
        check_messages(question)
        _check_annotation(item)
        # A span says where it begins in the whole of its text.
        answers = tuple(_answer(*question, is_whole=isinstance(item, NewSpan)) for question in _answers(item))
    except Refused as refused:
        raise ValueError(" ".join(refused.errors.values())) from None
    messages = [{"role": turn["role"], "content": turn["content"]} for turn in question]
    text_hash, side = splits.hash_and_split(messages, eval_percent)
    return Ready(line, item, messages, text_hash, side, answers)


def _answers(item: Item) -> list[tuple[str, str]]:
    """Return (text, model) of each answer in it."""
    match item:
        case NewComparison():
            if item.a.strip() == item.b.strip() and item.model_a == item.model_b:
                raise ValueError("The two answers are the same.")
            return [(item.a, item.model_a), (item.b, item.model_b)]
        case NewRanking():
            return _check_ranking(item)
        case NewAnswers():
            return _unjudged(item)
        case NewRating() | NewSpan():
            return [(item.text, item.model)]
        case NewPrompt() if item.answer:
            check_text(item.answer, "answer", "The right answer")
        case NewDemonstration():
            check_text(item.text, "text", "An answer")
            return [] if item.edited_from is None else [(item.edited_from, "")]
        case NewFlag():
            return [] if item.text is None else [(item.text, item.model)]
    return []


def _question(item: Item) -> Messages:
    """Return what its answers answer; of an attack, which is a whole conversation, all up to the last question."""
    if not isinstance(item, NewAttack):
        return item.messages
    last = max((n for n, turn in enumerate(item.messages) if turn.get("role") == "user"), default=-1)
    return item.messages[: last + 1]


def _check_ranking(item: NewRanking) -> list[tuple[str, str]]:
    if not 2 <= len(item.texts) <= MOST_RANKED:
        raise ValueError(f"A ranking has 2 to {MOST_RANKED} answers; this one has {len(item.texts)}.")
    if sorted(index for group in item.order for index in group) != list(range(len(item.texts))):
        raise ValueError("Each answer of a ranking needs exactly one place.")
    models = item.models or ("",) * len(item.texts)
    named = list(zip(item.texts, models, strict=True))
    if len(set(named)) != len(named):
        raise ValueError("Two of the ranked answers are the same.")
    return named


def _unjudged(item: NewAnswers) -> list[tuple[str, str]]:
    """Return the answers that are not empty; raises ValueError where none is."""
    models = item.models or ("",) * len(item.texts)
    answers = [(text, model) for text, model in zip(item.texts, models, strict=True) if text.strip()]
    if not answers:
        raise ValueError("All answers are empty.")
    return answers


def _answer(text: str, model: str, *, is_whole: bool = False) -> Answer:
    """Return the answer; an empty one counts, too: of a model that said nothing, and was judged for it."""
    check_text(text if text.strip() else f"-{text}")
    answer, thoughts = (text, "") if is_whole else reasoning.split(text)
    return Answer(answer, hashlib.sha256(text.encode()).hexdigest(), _name(model, "model"), thoughts)


def _name(value: str, kind: str) -> str:
    if not value:
        return ""
    check_text(value, kind, f"The name of a {kind}", _LONGEST_NAME)
    return value


def _check_annotation(item: Item) -> None:
    _name(item.judge, "judge")
    if item.comment:
        check_text(item.comment, "comment", "A comment", _LONGEST_COMMENT)
    if item.seconds is not None and not 0 <= item.seconds < _LONGEST:
        raise ValueError(f"Seconds must be 0 or more; this annotation has {item.seconds:g}.")
    if item.extra:
        text = _as_json(item.extra)
        if "\\u0000" in text:
            raise ValueError("The text contains a NUL, which the database cannot store.")
        check_text(text, "extra", "The extra data of the row", LONGEST_EXTRA)
    if isinstance(item, NewRating):
        _check_rating(item)
    if isinstance(item, NewAttack):
        _check_attack(item)
    if isinstance(item, NewSpan) and not (type(item.start) is type(item.end) is int):
        raise ValueError("A span needs start and end as whole numbers; end is after its last character.")
    if isinstance(item, NewSpan) and not 0 <= item.start < item.end <= len(item.text):
        raise ValueError(f"The span {item.start} to {item.end} is not within its text of {len(item.text)} characters.")


def _as_json(extra: Row) -> str:
    if _is_deeper(extra, DEEPEST_EXTRA):  # it would be read here, and nowhere else where less of the stack is left
        raise ValueError(f"The extra data of the row is nested more than {DEEPEST_EXTRA} deep.")
    try:
        return json.dumps(extra, ensure_ascii=False, allow_nan=False)
    except ValueError:
        raise ValueError("It has an infinite number, which JSON does not allow.") from None


def _is_deeper(value: object, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(element, levels - 1) for element in inner)


def _check_attack(item: NewAttack) -> None:
    if item.rating is not None and not 0 <= item.rating <= 4:
        raise ValueError(f"The success of an attack is 0 to 4; this one has {item.rating:g}.")
    for turn in item.messages[len(_question(item)) :]:
        check_text(turn["content"] or "-", "messages", "A turn")
    for text in (item.task_description, *item.tags):
        check_text(text or "-", "task_description", "The description of a row", 500)


def _check_rating(item: NewRating) -> None:
    if item.thumbs is None and item.stars is None and not item.aspects:
        raise ValueError("A rating needs thumbs, stars or aspects.")
    steps = [item.stars, *item.aspects.values()]
    if any(step is not None and (not isinstance(step, int) or not 1 <= step <= 5) for step in steps):
        raise ValueError("Stars and aspects must be 1 to 5.")
