"""Hold a conversation with one model, or the same one with two, by name. Nothing of it is kept.

The page holds the conversation and sends it along with each question; the server remembers nothing between them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings

from annotate.core.errors import Refused
from annotate.language_models.model_settings import sampling_for, system_prompt_for
from annotate.models import LanguageModel, Project
from common.sampling import BOUNDS as SAMPLING_BOUNDS
from common.sampling import CUT, Sampling, cut_words, sampling_of
from common.texts import is_storable

MOST_TURNS = 40
LONGEST = 100_000  # characters of a conversation
_LOST = "The page has lost the conversation; start a new one."
BOUNDS = {**SAMPLING_BOUNDS, "seed": (0, 2**31 - 1)}


@dataclass(frozen=True)
class Answer:
    """One model's answer to one question; `letter` is its side of the page."""

    letter: str
    text: str = ""
    state: str = "stands"  # before that waiting, then writing; or stopped, or failed
    problem: str = ""
    figures: str = ""
    reasoning: str = ""  # shown folded, and no part of what was said

    @property
    def is_over(self) -> bool:
        return self.state in ("stands", "stopped", "failed")


@dataclass(frozen=True)
class Turn:
    number: int
    prompt: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Question:
    """Hold what is asked now, after what was said before, and how the answers are to be drawn."""

    text: str
    turns: tuple[Turn, ...] = ()
    system: str = ""
    seed: int = 0
    sampling: Sampling = field(default_factory=lambda: sampling_of(Project()))

    @property
    def number(self) -> int:
        return len(self.turns)

    def messages(self, side: int) -> list[dict[str, str]]:
        """Return the conversation as that side has it: each model goes on from its own answers.

        Before a second model came in, the first one's answers are what was said.
        """
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for turn in self.turns:
            answer = turn.answers[min(side, len(turn.answers) - 1)].text if turn.answers else ""
            if answer:  # a question that failed is not part of what was said
                messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": answer}]
        return [*messages, {"role": "user", "content": self.text}]


def question_of(fields: Mapping[str, Any], project: Project, model: LanguageModel) -> Question:
    """Return the question of a form or a websocket; what it leaves out is as the model or the project says. Raises
    Refused with each wrong field."""
    errors: dict[str, str] = {}
    fields = {**defaults(project, model), **fields}
    text, system = str(fields.get("text") or "").strip(), str(fields.get("system") or "").strip()
    if not text:
        errors["text"] = "The question is empty; write one."
    elif len(text) + len(system) > settings.MAX_PROMPT_CHARACTERS:
        errors["text"] = (
            f"The limit is {settings.MAX_PROMPT_CHARACTERS:,} characters; this has {len(text) + len(system):,}."
        )
    elif not is_storable(text + system):
        errors["text"] = "It contains a null character or half of one; remove it."
    numbers = {name: _number(fields, name, errors) for name in BOUNDS}
    turns: tuple[Turn, ...] = ()
    try:
        turns = turns_of(str(fields.get("conversation") or "[]"))
    except Refused as refused:
        errors |= refused.errors
    if errors:
        raise Refused(400, **errors)
    seed = numbers.pop("seed")
    return Question(
        text,
        turns,
        system,
        random.getrandbits(31) if seed is None else int(seed),
        {
            "max_new_tokens": int(numbers["max_new_tokens"] or 1),
            "temperature": float(numbers["temperature"] or 0.0),
            "top_p": float(numbers["top_p"] or 1.0),
        },
    )


def _number(fields: Mapping[str, Any], name: str, errors: dict[str, str]) -> float | None:
    low, high = BOUNDS[name]
    typed = fields[name]
    if name == "seed" and typed in ("", None):
        return None
    try:
        value = float(typed)
        if low <= value <= high and (not isinstance(low, int) or value == int(value)):
            return value
    except (TypeError, ValueError, OverflowError):
        pass
    kind = "a whole number" if isinstance(low, int) else "a number"
    errors[name] = f"Enter {kind} from {low:g} to {high:,g}, not {str(typed)[:40]!r}."
    return None


def turns_of(text: str) -> tuple[Turn, ...]:
    """Return the turns that the page sends: [{"prompt": "…", "answers": ["…", …]}, …]. Raises Refused."""
    if len(text) > LONGEST:
        raise Refused(413, conversation="This conversation is too long; start a new one.")
    try:
        turns = tuple(
            Turn(number, str(row["prompt"]), tuple(Answer("AB"[i], str(a)) for i, a in enumerate(row["answers"][:2])))
            for number, row in enumerate(json.loads(text))
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Refused(400, conversation=_LOST) from error
    if not all(is_storable(said) for turn in turns for said in (turn.prompt, *(one.text for one in turn.answers))):
        raise Refused(400, conversation=_LOST)
    if len(turns) > MOST_TURNS:
        raise Refused(413, conversation=f"A conversation has at most {MOST_TURNS} questions; start a new one.")
    return turns


def of_first_model(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Return the conversation without the second model's answers: another one goes on from what the first said."""
    return tuple(replace(turn, answers=turn.answers[:1]) for turn in turns)


def as_json(turns: tuple[Turn, ...]) -> str:
    """Return what the page sends back with the next question."""
    return json.dumps(
        [{"prompt": turn.prompt, "answers": [answer.text for answer in turn.answers]} for turn in turns],
        ensure_ascii=False,
    )


def figures(question: Question, *, tokens: int | None, seconds: float, finish_reason: str) -> str:
    """Return the line below an answer: how long it is, how fast it came, why it ended, and how to get it again."""
    parts = []
    if tokens:
        parts.append(f"{tokens} tokens in {seconds:.1f} s" + (f", {tokens / seconds:.0f} a second" if seconds else ""))
    cut = cut_words(question.sampling["max_new_tokens"]).lower()
    ends = {"stop": "ended by itself", CUT: cut, "": ""}
    parts.append(ends.get(finish_reason, f"ended by {finish_reason}"))
    return "; ".join(filter(None, [*parts, f"seed {question.seed}"]))


def without_answer(question: Question) -> str:
    """Return what is said in place of an answer that is only thought."""
    room = question.sampling["max_new_tokens"]
    return f"The model reached the limit of {room:,} tokens while still reasoning. Raise Max tokens, and ask again."


def form_values(project: Project, model: LanguageModel, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the form's fields as typed, else as the model or the project says."""
    return {name: (fields or {}).get(name, default) for name, default in defaults(project, model).items()}


def defaults(project: Project, model: LanguageModel) -> dict[str, Any]:
    """Return the fields that say how answers are drawn, as the model or else the project has them."""
    return {**sampling_for(project, model), "seed": "", "system": system_prompt_for(project, model)}
