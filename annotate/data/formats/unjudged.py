"""Read what nobody has annotated yet: answers to be annotated, and questions to be answered. Not written. Pure: no
Django.

    prompt, response_a, response_b [, model_a, model_b]     two or more answers to one question
    prompt, completion, model                               one answer, and who gave it
    question | instruction [, input] | query                a question
    question_id, category, turns                            MT-bench: the first turn; the second needs an answer first

Each with `category` and `system` where it has them. See `guessing` for the names that a question and answers may have.
"""

from __future__ import annotations

import re
from typing import Any

from annotate.data.formats import fields, guessing
from annotate.data.formats.items import Item, NewAnswers, NewPrompt, Row

_MODELS = ("model", "model_name", "generator")
_JUDGED = {
    *("winner", "preference", "label", "labels", "chosen", "rejected", "thumbs", "stars", "rating", "score", "rank"),
    *("ranking", "margin", "annotations", "overall_rating"),
}
_QUESTIONS = ("question", "instruction", "query")
_SIGN = re.compile(r".*?[\s_-]*([1-9]|[a-i])$", re.IGNORECASE)


def fits_answers(row: Row) -> bool:
    task = _task(row)
    if task is None or not task.answers or task.prompt in task.answers:
        return False
    if len(task.answers) == 1:
        return bool(_model(row, task.answers[0]))
    return guessing.is_answer(task.answers[0])


def read_answers(row: Row, line: int) -> list[Item]:
    task = guessing.task(row)
    return [answers_of(task, row, messages=task.messages, **_common(row))]


def answers_of(task: guessing.Task, row: Row, **common: Any) -> Item:
    """Return the answers to annotate. Raises ValueError where there are none."""
    answers = [(text, _model(row, name)) for name, text in zip(task.answers, task.texts, strict=True) if text.strip()]
    if not answers:
        raise ValueError("has no answer that is not empty.")
    texts, models = tuple(text for text, _ in answers), tuple(model for _, model in answers)
    return NewAnswers(texts=texts, models=models, **common)


def fits_questions(row: Row) -> bool:
    if _turns(row):
        return True
    task = _task(row)
    return task is not None and not task.answers and task.prompt.lower() in _QUESTIONS


def read_questions(row: Row, line: int) -> list[Item]:
    if turns := _turns(row):
        messages = guessing.after_system(row, fields.question(turns[0]))
    else:
        messages = guessing.task(row).messages
        input_text = next((fields.optional(row, name) for name in row if name.lower() == "input"), "").strip()
        if input_text and messages[-1]["content"] != input_text:
            messages = [*messages[:-1], *fields.question(f"{messages[-1]['content']}\n\n{input_text}")]
    return [NewPrompt(messages=messages, **_common(row))]


def _task(row: Row) -> guessing.Task | None:
    if {name.lower() for name, value in row.items() if value not in (None, "")} & _JUDGED:
        return None
    try:
        return guessing.task(row)
    except ValueError:
        return None


def _turns(row: Row) -> list[str]:
    """Return MT-bench's turns, of which the first can be asked."""
    parsed = fields.parsed(row.get("turns"))
    is_one = isinstance(parsed, list) and bool(parsed) and all(isinstance(turn, str) for turn in parsed)
    return parsed if is_one and not guessing.has_prompt(row) else []


def _model(row: Row, answer: str) -> str:
    """Return who gave the answer: `response_a` is of `model_a` or of `response_a_model`; one alone is of `model`."""
    sign = _SIGN.fullmatch(answer)
    names = [f"{answer}_model", *([f"model_{sign[1]}", f"model{sign[1]}"] if sign else _MODELS)]
    columns = {name.lower(): name for name in row}
    return next((fields.optional(row, columns[name.lower()]) for name in names if name.lower() in columns), "")


def _common(row: Row) -> Row:
    source_id = fields.optional(row, "id") or fields.optional(row, "question_id")
    return {
        "category": fields.optional(row, "category"),
        "language": fields.optional(row, "language"),
        "source_id": source_id,
    }
