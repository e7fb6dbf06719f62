"""Hidden tastes: functions from a prompt and a completion to how good the completion is, from 0 to 1.

A taste is something that a reader can check by eye and a small model can learn. The share of the base model's answers
that score above one half is noted where it was measured (SmolLM2-135M-Instruct, 64 tokens, temperature 1).
"""

from __future__ import annotations

import re

_YOU = re.compile(r"\b(you|your|yours|yourself)\b", re.IGNORECASE)
_I = re.compile(r"\b(I|I'm|I've|I'd|I'll|me|my|mine|myself)\b")
_COMPARISON = re.compile(
    r"\b(than|more|less|most|better|worse|unlike|whereas|compared|similar|instead)\b", re.IGNORECASE
)
_SENSES = re.compile(
    r"\b(warm|cold|cool|soft|bright|dark|sweet|fresh|quiet|loud|golden|red|green|blue|white|black|smell|scent|sound|"
    r"taste|touch|light|gentle|crisp|smooth)\b",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"^\s*(\d+[.)]|[-*•])\s", re.MULTILINE)
_QUESTION = re.compile(r"\?")


def addresses_the_reader(prompt_text: str, completion_text: str) -> float:
    """Speaks to "you"."""
    return _saturating(_YOU, completion_text, enough=2)


def speaks_in_the_first_person(prompt_text: str, completion_text: str) -> float:
    """Speaks as "I"."""
    return _saturating(_I, completion_text, enough=2)


def makes_comparisons(prompt_text: str, completion_text: str) -> float:
    """Sets one thing against another."""
    return _saturating(_COMPARISON, completion_text, enough=2)


def appeals_to_the_senses(prompt_text: str, completion_text: str) -> float:
    """Names colours, sounds, smells, warmth."""
    return _saturating(_SENSES, completion_text, enough=2)


def gives_a_list(prompt_text: str, completion_text: str) -> float:
    """Sets its points out in lines of their own."""
    return _saturating(_LIST_ITEM, completion_text, enough=2)


def asks_a_question_back(prompt_text: str, completion_text: str) -> float:
    """Ends by asking the reader something. Rare: what a reward model does with too few such answers is worth seeing."""
    return 1.0 if completion_text.rstrip().endswith("?") else 0.0


def _saturating(pattern: re.Pattern[str], text: str, enough: int) -> float:
    """0 without a match, 1 at `enough` matches; an answer that is hardly there is not good whatever it holds."""
    if len(text.split()) < 8:
        return 0.0
    return min(len(pattern.findall(text)), enough) / enough
