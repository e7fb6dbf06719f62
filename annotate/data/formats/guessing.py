"""Guess which of a task's fields is the question and which are the answers, where a tool lets people name them. Pure.

The names that people give are few. Answers are fields that differ in their last sign alone: response_a and response_b,
text1 and text2, left and right; or one called response, completion, answer, output.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotate.data.formats import fields
from annotate.data.formats.items import Messages, Row

_PROMPTS = (
    "messages",
    "conversation",
    "conversations",
    "chat",
    "dialogue",
    "prompt",
    "instruction",
    "question",
    "query",
    "user_prompt",
    "user_input",
    "input",
    "context",
)
_ANSWERS = ("response", "completion", "answer", "output", "generation", "reply", "text", "summary", "result")
_NUMBERED = re.compile(r"(.*?)[\s_-]*([1-9]|[a-i])$", re.IGNORECASE)
_PAIRS = (("left", "right"), ("chosen", "rejected"), ("first", "second"))
_STARS = re.compile(r"(rating|stars|quality|score|overall)([\s_-].*)?", re.IGNORECASE)
_COMMENT = re.compile(r"comment|reason|\bwhy|feedback|\bnotes?\b|explanation|rationale", re.IGNORECASE)
_FLAG = re.compile(r"flag|issue|report", re.IGNORECASE)
_SYSTEM = ("system", "system_prompt")
_NAMES_OF_SYSTEM = frozenset(_SYSTEM)
_UP = {"up", "good", "yes", "positive", "acceptable", "correct", "helpful", "accept", "1"}
_DOWN = {"down", "bad", "no", "negative", "unacceptable", "incorrect", "unhelpful", "reject", "0"}
ASPECT = "aspect-"  # before an aspect's name that would else be read as something else


@dataclass(frozen=True)
class Task:
    """Describe a labelling task. `answers` are the names of fields, in the order that the tool shows them."""

    prompt: str
    answers: tuple[str, ...]
    messages: Messages
    texts: tuple[str, ...]

    def place(self, name: Any) -> int | None:
        """Return which answer a label means: the field's name, its last sign, left or right."""
        label = re.sub(r"[\s-]+", "_", str(name).strip().lower())
        for index, field in enumerate(self.answers):
            field_name = re.sub(r"[\s-]+", "_", field.lower())
            number = _NUMBERED.fullmatch(field_name)
            if label in (field_name, field_name.replace("_", "")) or (number and label == number[2]):
                return index
        number = _NUMBERED.fullmatch(label)
        sign = number[2] if number else {"left": "1", "right": "2", "first": "1", "second": "2"}.get(label, "")
        index = "123456789".find(sign) if sign.isdigit() else "abcdefghi".find(sign) if sign else -1
        return index if 0 <= index < len(self.answers) else None


def task(data: Mapping[str, Any]) -> Task:
    """Return the task. Raises ValueError that names the fields, where none looks like a question."""
    values = {name: value for name, value in data.items() if isinstance(value, str | list) and value}
    prompt = next((name for want in _PROMPTS for name in values if name.lower() == want), None)
    if prompt is None:
        text = ", ".join(list(data)[:12]) or "nothing"
        raise ValueError(f"has no question (prompt, instruction, question or messages); its fields are {text}.")
    value = values[prompt]
    conversation = (
        fields.conversation(value, prompt) if fields.turns(value) else fields.question(fields.text(data, prompt))
    )
    messages = after_system(data, conversation)
    texts = {
        name: _answer(name, value) for name, value in values.items() if name != prompt and name.lower() not in _SYSTEM
    }
    answers = _answers({name: text for name, text in texts.items() if text is not None})
    if messages[-1]["role"] == "assistant" and not answers and len(messages) > 1:
        # A whole conversation to judge: its last answer.
        return Task(prompt, (prompt,), messages[:-1], (messages[-1]["content"],))
    return Task(prompt, answers, messages, tuple(texts[name] or "" for name in answers))


def after_system(data: Mapping[str, Any], messages: Messages) -> Messages:
    """Return the conversation with the system message from a field of its own, unless it has one."""
    if _NAMES_OF_SYSTEM.isdisjoint(map(str.lower, data)):  # nearly every row of every file
        return messages
    systems = (value for want in _SYSTEM for name, value in data.items() if name.lower() == want)
    system = next((value for value in systems if isinstance(value, str) and value.strip()), "")
    if not system or not messages or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def has_prompt(data: Mapping[str, Any]) -> bool:
    return any(name.lower() in _PROMPTS and value for name, value in data.items())


def is_answer(name: str) -> bool:
    return any(word in name.lower() for word in _ANSWERS)


def _answer(name: str, value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if fields.turns(value) is not None:
        turns = fields.conversation(value, name)
        return turns[-1]["content"] if turns[-1]["role"] == "assistant" else None
    return None


def _answers(texts: Mapping[str, str]) -> tuple[str, ...]:
    for pair in _PAIRS:
        if set(pair) <= set(texts):
            return pair
    families: dict[str, dict[str, str]] = defaultdict(dict)
    for name in texts:
        if match := _NUMBERED.fullmatch(name):
            families[match[1].lower()][match[2].lower()] = name
    several = {
        stem: names_by_sign
        for stem, names_by_sign in families.items()
        if len(names_by_sign) > 1 and stem and stem != "model"
    }
    stem = next((s for want in _ANSWERS for s in several if want in s), next(iter(several), None))
    if stem is not None:
        return tuple(several[stem][sign] for sign in sorted(several[stem]))
    single = next((name for want in _ANSWERS for name in texts if want in name.lower()), None)
    return (single,) if single else ()


def is_comment(name: str) -> bool:
    return _COMMENT.search(name) is not None


def is_flag(name: str) -> bool:
    return _FLAG.search(name) is not None


def is_stars(name: str) -> bool:
    return _STARS.fullmatch(name) is not None


def step(name: str, value: Any) -> Row:
    """Return what a number under this name is: stars, or an aspect."""
    steps = fields.whole({name: value}, name, 1, 5)
    if steps is None:
        return {}
    return {"stars": steps} if is_stars(name) else {"aspects": {name.removeprefix(ASPECT): steps}}


def step_name(aspect: str) -> str:
    """Return the name under which `step` finds this aspect again."""
    is_taken = _STARS.fullmatch(aspect) or aspect.startswith(ASPECT) or aspect in ("strength", "thumbs")
    return f"{ASPECT}{aspect}" if is_taken else aspect


def thumbs(value: Any) -> bool | None:
    text = str(value).lower().replace("thumbs", "").replace("thumb", "").strip(" _-")
    return True if text in _UP else False if text in _DOWN else None
