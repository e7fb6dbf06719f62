"""Find the common beginning of two conversations: what both answer, how each answers, what followed. Pure: no
Django."""

from __future__ import annotations

from dataclasses import dataclass

from annotate.data.formats.fields import answer, question
from annotate.data.formats.items import Messages
from common import transcripts

_START, _CUE = "\n\nHuman:", "\n\nAssistant:"


@dataclass(frozen=True)
class Parted:
    messages: Messages
    a: str
    b: str
    later_a: Messages
    later_b: Messages


def parted(first: Messages, second: Messages, names: tuple[str, str]) -> Parted:
    """Return both conversations parted at the first turn that differs, which must be an answer in both; at their last
    answers where none does."""
    for name, turns in zip(names, (first, second), strict=True):
        if not turns or turns[-1]["role"] != "assistant":
            raise ValueError(f"has a {name} that does not end with an answer.")
    alike = 0
    while alike < min(len(first), len(second)) - 1 and first[alike] == second[alike]:
        alike += 1
    if first[alike]["role"] != "assistant" or second[alike]["role"] != "assistant":
        raise ValueError(
            f"has {names[0]} and {names[1]} that differ before the answer, so they answer different prompts."
        )
    if not alike or first[alike - 1]["role"] != "user":
        raise ValueError("has answers without a question.")
    return Parted(
        first[:alike], first[alike]["content"], second[alike]["content"], first[alike + 1 :], second[alike + 1 :]
    )


def rejoined(messages: Messages, text: str, later: Messages) -> Messages:
    return [*messages, *answer(text), *later]


def prompt_of(text: str) -> Messages:
    """Return a prompt that is one text: a question, or a whole conversation in hh-rlhf's form up to "Assistant:"."""
    if text.startswith(_START) or (_START in text and text.rstrip().endswith(_CUE)):
        turns = transcripts.split(text.rstrip().removesuffix(_CUE))
        if turns and turns[-1]["role"] == "user":
            return turns
    return question(text)


def text_of(messages: Messages) -> str:
    if len(messages) == 1 and messages[0]["role"] == "user" and not messages[0]["content"].startswith(_START):
        return messages[0]["content"]
    return transcripts.join(messages) + _CUE
