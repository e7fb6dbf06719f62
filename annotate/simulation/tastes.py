"""Hidden tastes: functions from a prompt and a completion to how good the completion is, from 0 to 1.

A taste is something that a reader can check by eye and a small model can learn. Each says how many of 720 answers of
the base model (SmolLM2-135M-Instruct, 64 tokens, temperature 1) score at least one half.
"""

from __future__ import annotations

import re

FEWEST_WORDS = 8

_YOU = re.compile(r"\b(you|your|yours|yourself)\b", re.IGNORECASE)
_I = re.compile(r"\b(I|I'm|I've|I'd|I'll|me|my|mine|myself)\b")
_COMPARISON = re.compile(
    r"\b(than|more|less|most|better|worse|unlike|whereas|while|compared|similar|different|instead|rather|but|however)\b",
    re.IGNORECASE,
)
_WARM = re.compile(
    r"\b(love\w*|happy|happiness|joy\w*|enjoy\w*|wonderful|beautiful|friend\w*|kind|kindness|thank\w*|great|delicious|"
    r"delightful|care|caring|hope|smile\w*)\b",
    re.IGNORECASE,
)
_SENSES = re.compile(
    r"\b(warm|cold|cool|soft|bright|dark|sweet|fresh|quiet|loud|golden|red|green|blue|white|black|smell|scent|sound|"
    r"taste|touch|light|gentle|crisp|smooth)\b",
    re.IGNORECASE,
)
_LIST_ITEM = re.compile(r"^\s*(\d+[.)]|[-*•])\s", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?\n]+")


def addresses_the_reader(prompt_text: str, completion_text: str) -> float:
    """Score how much it speaks to "you". 31 %."""
    return _saturating(_YOU, completion_text, enough=2)


def speaks_in_the_first_person(prompt_text: str, completion_text: str) -> float:
    """Score how much it speaks as "I". 29 %."""
    return _saturating(_I, completion_text, enough=2)


def makes_comparisons(prompt_text: str, completion_text: str) -> float:
    """Score how much it sets one thing against another. 35 %."""
    return _saturating(_COMPARISON, completion_text, enough=2)


def appeals_to_the_senses(prompt_text: str, completion_text: str) -> float:
    """Score names of colours, sounds, smells, warmth. 17 %."""
    return _saturating(_SENSES, completion_text, enough=2)


def gives_a_list(prompt_text: str, completion_text: str) -> float:
    """Score points set out in lines of their own. 4 %, 2 % fully: see what the product says of so rare a taste."""
    return _saturating(_LIST_ITEM, completion_text, enough=2)


def is_warm(prompt_text: str, completion_text: str) -> float:
    """Score how much it speaks of what is loved, kind or beautiful. 35 %."""
    return _saturating(_WARM, completion_text, enough=2)


def keeps_sentences_short(prompt_text: str, completion_text: str) -> float:
    """Score short sentences: some nine words to a sentence are best, eighteen are too many. 49 %."""
    sentences = [part.split() for part in _SENTENCE_END.split(completion_text) if part.strip()]
    words = sum(len(sentence) for sentence in sentences)
    if words < FEWEST_WORDS:
        return 0.0
    return min(1.0, max(0.0, (18 - words / len(sentences)) / 9))


def _saturating(pattern: re.Pattern[str], text: str, enough: int) -> float:
    """Return 0 without a match, 1 at `enough` matches; an answer that is hardly there is not good whatever it holds."""
    if len(text.split()) < FEWEST_WORDS:
        return 0.0
    return min(len(pattern.findall(text)), enough) / enough
