"""TRL's dataset formats, each with texts or with conversations ([{"role", "content"}]): language modeling
(`text` | `messages`), prompt-only (`prompt`), prompt-completion (`prompt, completion`), preference (`prompt?, chosen,
rejected, margin?`; without the prompt, what the two share is it), unpaired preference (`prompt, completion, label`).

A margin of 1, 2 or 3 is a strength. A text prompt may hold a whole conversation in hh-rlhf's form. Pure: no Django.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from annotate.data.formats import common_prefix, fields
from annotate.data.formats.hh_rlhf import chosen_and_rejected
from annotate.data.formats.items import Item, Messages, NewComparison, NewDemonstration, NewPrompt, NewRating, Row
from common import transcripts

POSITIVE_STARS, NEGATIVE_STARS = 4, 2
Fits = Callable[[Row], bool]


def fits(*names: str, absent: tuple[str, ...] = (), conversational: bool) -> Fits:
    """Return a test of rows that have these columns, of which the first is a conversation or is none."""

    def fit(row: Row) -> bool:
        present = {name for name, value in row.items() if value is not None}
        if not set(names) <= present or present & set(absent):
            return False
        is_conversation = fields.turns(row[names[0]]) is not None
        return is_conversation if conversational else isinstance(row[names[0]], str) and not is_conversation

    return fit


def prompt(value: Any, name: str = "prompt") -> Messages:
    if fields.turns(value) is not None:
        return fields.conversation(value, name)
    if not isinstance(value, str):
        raise ValueError(f"has no {name}." if value is None else f"has a {name} that is neither text nor turns.")
    return common_prefix.prompt_of(value)


def completion(value: Any, name: str) -> tuple[str, Messages]:
    """Return the answer, and what followed it."""
    if fields.turns(value) is None:
        if not isinstance(value, str):
            raise ValueError(f"has no {name}." if value is None else f"has a {name} that is neither text nor turns.")
        return value, []
    conversation = fields.conversation(value, name)
    if conversation[0]["role"] != "assistant":
        raise ValueError(f"has a {name} that does not start with the assistant's turn.")
    return conversation[0]["content"], conversation[1:]


def read_preference(row: Row) -> Item:
    if row.get("prompt") is not None:
        messages = prompt(row["prompt"])
        (a, later_a), (b, later_b) = (completion(row.get(name), name) for name in ("chosen", "rejected"))
    else:
        parted = _shared(row)
        messages, a, b, later_a, later_b = parted.messages, parted.a, parted.b, parted.later_a, parted.later_b
    margin = fields.number(row, "margin")
    return NewComparison(
        messages=messages, a=a, b=b, later_a=later_a, later_b=later_b, winner="model_a", is_ordered=False,
        strength=int(margin) if margin in (1, 2, 3) else None,
    )  # fmt: skip


def _shared(row: Row) -> common_prefix.Parted:
    names = ("chosen", "rejected")
    if fields.turns(row.get("chosen")) is not None:
        first, second = (fields.conversation(row.get(name), name) for name in names)
        return common_prefix.parted(first, second, names)
    chosen, rejected = (fields.text(row, name) for name in names)
    alike = next((i for i, (c, r) in enumerate(zip(chosen, rejected, strict=False)) if c != r), None)
    alike = min(len(chosen), len(rejected)) if alike is None else alike
    if alike and chosen[alike - 1] == " ":  # as TRL parts them: the space belongs to the answers
        alike -= 1
    if not chosen[:alike].strip():
        raise ValueError("has no prompt, and chosen and rejected have no common beginning to use as prompt.")
    return common_prefix.Parted(fields.question(chosen[:alike]), chosen[alike:], rejected[alike:], [], [])


def preference(*, conversational: bool, implicit: bool) -> Callable[[Item], Row | None]:
    def write(item: Item) -> Row | None:
        sides = chosen_and_rejected(item)
        if sides is None:
            return None
        assert isinstance(item, NewComparison)
        row = dict(zip(("chosen", "rejected"), (_side(item, side) for side in sides), strict=True))
        margin = {"margin": float(item.strength)} if item.strength is not None else {}
        return ({} if implicit else {"prompt": _prompt(item.messages)}) | row | margin

    def _prompt(messages: Messages) -> Any:
        return messages if conversational else common_prefix.text_of(messages)

    def _side(item: Item, side: tuple[str, Messages]) -> Any:
        if conversational:
            conversation = common_prefix.rejoined(item.messages if implicit else [], *side)
            return conversation
        text = side[0] + (transcripts.join(side[1]) if side[1] else "")
        return (common_prefix.text_of(item.messages) if implicit else "") + text

    return write


def read_unpaired(row: Row) -> Item:
    thumbs = fields.truth(row, "label")
    if thumbs is None:
        raise ValueError("has no label; use true or false.")
    messages, text = _with_completion(row)
    return NewRating(messages=messages, text=text, thumbs=thumbs)


def read_prompt_completion(row: Row) -> Item:
    messages, text = _with_completion(row)
    return NewDemonstration(messages=messages, text=text)


def _with_completion(row: Row) -> tuple[Messages, str]:
    """Return the row with its completion split: one of several turns is answered by its last."""
    text, later = completion(row.get("completion"), "completion")
    messages = prompt(row.get("prompt"))
    if not later:
        return messages, text
    if later[-1]["role"] != "assistant":
        raise ValueError("has a completion that does not end with the assistant's turn.")
    return [*messages, *fields.answer(text), *later[:-1]], later[-1]["content"]


def unpaired(*, conversational: bool) -> Callable[[Item], Row | None]:
    def write(item: Item) -> Row | None:
        label = label_of(item) if isinstance(item, NewRating) else None
        if label is None:
            return None
        return _pair(item, conversational) | {"label": label}

    return write


def label_of(rating: Any) -> bool | None:
    """Return the label of thumbs, else of stars: four and five are good, one and two bad, three is neither."""
    if rating.thumbs is not None:
        return rating.thumbs
    if rating.stars is None:
        return None
    if rating.stars >= POSITIVE_STARS:
        return True
    return False if rating.stars <= NEGATIVE_STARS else None


def prompt_completion(*, conversational: bool) -> Callable[[Item], Row | None]:
    return lambda item: _pair(item, conversational) if isinstance(item, NewDemonstration) else None


def _pair(item: Any, conversational: bool) -> Row:
    if conversational:
        return {"prompt": item.messages, "completion": fields.answer(item.text)}
    return {"prompt": common_prefix.text_of(item.messages), "completion": item.text}


def read_prompt_only(row: Row) -> Item:
    return NewPrompt(messages=prompt(row.get("prompt")))


def prompt_only(*, conversational: bool) -> Callable[[Item], Row | None]:
    def write(item: Item) -> Row | None:
        if not isinstance(item, NewPrompt):
            return None
        return {"prompt": item.messages if conversational else common_prefix.text_of(item.messages)}

    return write


def read_language_modeling(row: Row) -> Item:
    """Return an example where a conversation ends with an answer, else a prompt. (Raw texts, for a corpus, are
    uploaded.)"""
    if row.get("messages") is not None:
        turns = fields.conversation(row["messages"], "messages")
    else:
        turns = transcripts.split(fields.text(row, "text"))
        if not any(turn["role"] in ("user", "assistant") for turn in turns):
            turns = fields.question(fields.text(row, "text"))
    if turns[-1]["role"] == "user":
        return NewPrompt(messages=turns)
    if turns[-1]["role"] != "assistant" or len(turns) < 2 or turns[-2]["role"] != "user":
        raise ValueError("has no question before its last answer.")
    return NewDemonstration(messages=turns[:-1], text=turns[-1]["content"])


def language_modeling(*, conversational: bool) -> Callable[[Item], Row | None]:
    def write(item: Item) -> Row | None:
        if not isinstance(item, NewDemonstration | NewPrompt):
            return None
        turns = item.messages if isinstance(item, NewPrompt) else [*item.messages, *fields.answer(item.text)]
        return {"messages": turns} if conversational else {"text": transcripts.join(turns)}

    return write
