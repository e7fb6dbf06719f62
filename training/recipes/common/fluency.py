"""Measure which scripts answers are written in, and how much of them is in scripts that the parent does not use.

A policy that is paid for a taste may fill its answers with emoji and foreign letters: a reward model that has never
seen them gives them any score at all. Shares of scripts show that from the text alone. Pure: no torch, no Django.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

COMMON = "COMMON"  # digits, punctuation and signs, which every script uses
SYMBOL = "SYMBOL"  # emoji, arrows, signs of mathematics, boxes, and the mark of broken bytes
UNKNOWN = "UNKNOWN"  # private or unassigned code points
RARE = 0.05  # a script with a smaller share of the parent's characters counts as one that the parent does not use


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of each script in all visible characters of the texts; the shares add up to 1.

    A script is the first word of a letter's Unicode name: LATIN, CYRILLIC, CJK, HANGUL … Beside them stand COMMON,
    SYMBOL and UNKNOWN. White space, joiners and accents that stand alone are not counted. Empty without any character.
    """
    counts: Counter[str] = Counter()
    for character, times in Counter("".join(texts)).items():
        if script := _script(character):
            counts[script] += times
    total = counts.total()
    return {script: times / total for script, times in counts.most_common()}


def foreign_share(texts: Iterable[str], parent_shares: Mapping[str, float]) -> float:
    """Return the share of the texts' characters that is in scripts which the parent does not use, from 0 to 1.

    parent_shares: what `script_shares` gives for the parent's own answers. Of each script under RARE there, only what
    exceeds the parent's share counts, so that the parent itself has 0. COMMON never counts.
    """
    return sum(
        max(0.0, share - parent_shares.get(script, 0.0))
        for script, share in script_shares(texts).items()
        if script != COMMON and parent_shares.get(script, 0.0) < RARE
    )


@lru_cache(maxsize=8192)
def _script(character: str) -> str:
    """Return the script of one character, or "" for one that is not counted."""
    category = unicodedata.category(character)
    if character.isspace() or category in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp"):
        return ""
    if character.isascii():
        return "LATIN" if character.isalpha() else COMMON
    if category in ("Co", "Cn"):
        return UNKNOWN
    if category in ("So", "Sm", "Sk"):
        return SYMBOL
    if category[0] == "L" or category in ("Nd", "Mc", "Mn"):
        word = unicodedata.name(character, UNKNOWN).split()[0].split("-")[0]
        return "" if word in ("COMBINING", "VARIATION") else word
    return COMMON
