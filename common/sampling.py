"""Define how an answer is drawn: in the arena, in the playground, to a red team, in bulk for annotators.

One setting of the project for all of them: people judge what they would be served. At temperature 1 a small model's
answers are odd in ways that no reader of the arena ever meets, and what is learnt from judging them is about those. PPO
draws its rollouts at temperature 1, as its own config says. Each completion keeps the settings that it was drawn with.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypedDict

MAX_NEW_TOKENS = 1024  # room for a whole answer: people cannot judge half of one
TEMPERATURE = 0.7
TOP_P = 0.95
BOUNDS = {"max_new_tokens": (1, 4096), "temperature": (0.0, 2.0), "top_p": (0.01, 1.0)}
LONGEST_SYSTEM_PROMPT = 4000  # characters
CUT = "length"  # the finish_reason of an answer that had no more room


class Sampling(TypedDict):
    """Say how an answer is drawn; kept with each completion."""

    max_new_tokens: int
    temperature: float
    top_p: float


class _Project(Protocol):
    max_new_tokens: Any
    temperature: Any
    top_p: Any
    system_prompt: Any


class _Completion(Protocol):
    sampling: Any
    finish_reason: Any


def sampling_of(project: _Project) -> Sampling:
    """Return the project's setting, as a model server takes it."""
    return {
        "max_new_tokens": project.max_new_tokens,
        "temperature": project.temperature,
        "top_p": project.top_p,
    }


def kept_sampling(sampling: Sampling, system_prompt: str) -> dict[str, Any]:
    """Return what a completion keeps of how it was drawn."""
    return {**sampling, **({"system_prompt": system_prompt} if system_prompt else {})}


def with_system_prompt(messages: Sequence[Mapping[str, str]], system_prompt: str) -> list[dict[str, str]]:
    """Return the conversation after the system prompt; one that brings its own keeps that."""
    conversation = [dict(turn) for turn in messages]
    if not system_prompt or (conversation and conversation[0]["role"] == "system"):
        return conversation
    return [{"role": "system", "content": system_prompt}, *conversation]


def cut_note(completion: _Completion | None, other_completions: Sequence[_Completion | None] = ()) -> str:
    """Return what stands under an answer that had no more room; "" under a whole one.

    `other_completions` are judged blind with it. Where they had different room the number is left out: it would tell
    one run, and so perhaps one model, from another.
    """
    if completion is None or completion.finish_reason != CUT:
        return ""
    limits = {_limit(other) for other in (completion, *other_completions)}
    return cut_words(limits.pop() if len(limits) == 1 else None)


def cut_words(limit: int | None) -> str:
    return f"Cut at {limit:,} tokens" if limit else "Cut at its length limit"


def _limit(completion: _Completion | None) -> int | None:
    limit = (completion.sampling or {}).get("max_new_tokens") if completion is not None else None
    return limit if isinstance(limit, int) else None
