r"""Read and write transcripts in hh-rlhf's form: one text, each turn after a blank line and `Human:` or `Assistant:`.
Pure: no Django.

`chosen` and `rejected` share their beginning, which is the prompt; what each ends with is the completion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLE = {"Human": "user", "Assistant": "assistant"}
_NAME = {"user": "Human", "assistant": "Assistant", "system": "System"}
Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Pair:
    """Two answers to one conversation, of which the first was preferred."""

    messages: Messages
    chosen: str
    rejected: str


def split(transcript: str) -> Messages:
    """Return the turns. Text before the first speaker is the system's; two turns of one speaker in a row are one
    turn."""
    parts = _SPEAKER.split(transcript)
    turns = [{"role": "system", "content": parts[0].strip()}] if parts[0].strip() else []
    for speaker, text in zip(parts[1::2], parts[2::2], strict=True):
        role, content = _ROLE[speaker], text.strip()
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = f"{turns[-1]['content']}\n\n{content}".strip()
        else:
            turns.append({"role": role, "content": content})
    return turns


def join(messages: Messages) -> str:
    """Return the transcript of a conversation."""
    start = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
    turns = messages[1:] if start else messages
    return start + "".join(f"\n\n{_NAME[turn['role']]}: {turn['content']}" for turn in turns)


def pair(chosen: str, rejected: str) -> Pair:
    """Return what the two have in common, and how each ends. Raises ValueError in words for what is not a pair of
    answers."""
    one, other = split(chosen), split(rejected)
    for name, turns in (("chosen", one), ("rejected", other)):
        if not turns or turns[-1]["role"] != "assistant":
            raise ValueError(f"{name} does not end with an Assistant turn")
        if not turns[-1]["content"]:
            raise ValueError(f"{name} ends with an empty answer")
    if one[:-1] != other[:-1]:
        raise ValueError("the two part before their last answer, so they answer different prompts")
    if not one[:-1] or one[-2]["role"] != "user":
        raise ValueError("no Human turn comes before the answers")
    if one[-1] == other[-1]:
        raise ValueError("chosen and rejected are the same")
    return Pair(one[:-1], one[-1]["content"], other[-1]["content"])
