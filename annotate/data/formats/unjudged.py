"""Read what nobody has annotated yet: answers to be annotated, questions with answers to learn from, and questions to
be answered. Not written. Pure: no Django.

    prompt, response_a, response_b [, model_a, model_b]     two or more answers to one question
    prompt, completion, model                               one answer, and who gave it
    conversation | conversations, model                     the same of a log: the model's last answer
    instruction [, input], output | question, answer        an answer to learn from, as Alpaca has it
    conversations [{"from", "value"}]                       the same of ShareGPT: its last answer
    question | instruction [, input] | query | text         a question
    question_id, category, turns                            MT-bench: the first turn; the second needs an answer first

Each with `category`, `language` and `system` where it has them, however they are capitalised. See `guessing` for the
names that a question and answers may have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from annotate.data.formats import fields, guessing
from annotate.data.formats.items import Item, Messages, NewAnswers, NewDemonstration, NewPrompt, Row

_MODELS = ("model", "model_name", "generator")
_JUDGED = {
    *("winner", "preference", "label", "labels", "chosen", "rejected", "thumbs", "stars", "rating", "score", "rank"),
    *("ranking", "margin", "annotations", "overall_rating"),
}
_TO_LEARN = ("response", "answer", "output", "reply")
_LOGS = ("conversation", "conversations", "chat", "dialogue")
_PLAIN = ("text", "content")
_SIGN = re.compile(r".*?[\s_-]*([1-9]|[a-i])$", re.IGNORECASE)


def fits_answers(row: Row) -> bool:
    task = _task(row)
    if task is None or not task.answers:
        return False
    if len(task.answers) == 1:
        return bool(_model(row, task.answers[0]))
    return guessing.is_answer(task.answers[0])


def read_answers(row: Row, line: int) -> list[Item]:
    task = guessing.task(row)
    answers = _own_answers(task, row)
    if not answers:
        raise ValueError("has only empty answers.")
    return [_new_answers(answers, messages=_asked(row, task), **_common(row))]


def answers_or_prompt(task: guessing.Task, row: Row, suggested: Sequence[tuple[str, str]], **common: Any) -> Item:
    """Return a task that nobody has done yet: its answers to be annotated, with those that models suggest as (text,
    model); a prompt where it has none."""
    answers = list(dict.fromkeys([*_own_answers(task, row), *(one for one in suggested if one[0].strip())]))
    return _new_answers(answers, **common) if answers else NewPrompt(**common)


def _own_answers(task: guessing.Task, row: Row) -> list[tuple[str, str]]:
    """Return (text, model) of each answer that is not empty."""
    return [(text, _model(row, name)) for name, text in zip(task.answers, task.texts, strict=True) if text.strip()]


def _new_answers(answers: Sequence[tuple[str, str]], **common: Any) -> Item:
    texts, models = zip(*answers, strict=True)
    return NewAnswers(texts=texts, models=models, **common)


def fits_examples(row: Row) -> bool:
    task = _task(row)
    if task is None or len(task.answers) != 1:
        return False
    name = task.answers[0].lower()
    return name in _LOGS if task.prompt == task.answers[0] else name in _TO_LEARN


def read_examples(row: Row, line: int) -> list[Item]:
    task = guessing.task(row)
    if not task.texts or not task.texts[0].strip():
        return [NewPrompt(messages=_asked(row, task), **_common(row))]
    return [NewDemonstration(messages=_asked(row, task), text=task.texts[0], **_common(row))]


def fits_questions(row: Row) -> bool:
    if _turns(row) or (_plain(row) and not guessing.has_prompt(row)):
        return True
    task = _task(row)
    return task is not None and not task.answers


def read_questions(row: Row, line: int) -> list[Item]:
    if turns := _turns(row):
        messages = guessing.after_system(row, fields.question(turns[0]))
    elif (name := _plain(row)) and not guessing.has_prompt(row):
        messages = guessing.after_system(row, fields.question(fields.text(row, name)))
    else:
        messages = _asked(row, guessing.task(row))
    return [NewPrompt(messages=messages, **_common(row))]


def _asked(row: Row, task: guessing.Task) -> Messages:
    """Return the question, with the input that an instruction is about."""
    input_text = _value(row, "input").strip()
    if task.prompt.lower() != "instruction" or not input_text:
        return task.messages
    return [*task.messages[:-1], *fields.question(f"{task.messages[-1]['content']}\n\n{input_text}")]


def _task(row: Row) -> guessing.Task | None:
    if {name.lower() for name, value in row.items() if value not in (None, "")} & _JUDGED:
        return None
    try:
        return guessing.task(row)
    except ValueError:
        return None


def _plain(row: Row) -> str:
    return next((name for want in _PLAIN for name in row if name.lower() == want), "")


def _turns(row: Row) -> list[str]:
    """Return MT-bench's turns, of which the first can be asked."""
    parsed = fields.parsed(row.get("turns"))
    is_one = isinstance(parsed, list) and bool(parsed) and all(isinstance(turn, str) for turn in parsed)
    return parsed if is_one and not guessing.has_prompt(row) else []


def _model(row: Row, answer: str) -> str:
    """Return who gave the answer: `response_a` is of `model_a` or of `response_a_model`; one alone is of `model`."""
    sign = _SIGN.fullmatch(answer)
    names = [f"{answer}_model", *([f"model_{sign[1]}", f"model{sign[1]}"] if sign else _MODELS)]
    return next((value for name in names if (value := _value(row, name))), "")


def _common(row: Row) -> Row:
    return {
        "category": _value(row, "category"),
        "language": _value(row, "language") or _value(row, "lang"),
        "source_id": _value(row, "id") or _value(row, "question_id"),
    }


def _value(row: Row, wanted: str) -> str:
    """Return the text of a column, however its name is capitalised."""
    name = _first_by_lower_name(tuple(row)).get(wanted.lower())
    return "" if name is None else fields.optional(row, name)


@lru_cache(maxsize=16)  # the rows of a file have few sets of columns
def _first_by_lower_name(names: tuple[str, ...]) -> dict[str, str]:
    return {name.lower(): name for name in reversed(names)}
