"""Whether a run that trains against a score is still what its owner wants: said on its page while it can be stopped.

A policy may please the score by ceasing to answer. The PPO recipe ends itself at its bounds; this tells of the way
there. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from training.curves import is_number

NEAR = 0.75  # share of a bound used up, from which on a person should look


def warnings(rows: Sequence[tuple[int, dict[str, Any]]], config: dict[str, Any]) -> list[str]:
    """What begins to run away, in words; empty while all is well. `rows` are (step, values), first to last."""
    if len(rows) < 2:
        return []
    first, (step, last) = rows[0][1], rows[-1]
    found = []
    kl, bound = last.get("kl"), config.get("stop_kl")
    if is_number(kl) and is_number(bound) and bound > 0 and kl > NEAR * bound:
        found.append(f"the KL to the parent is {kl:.1f} of the {bound:g} nats at which the run ends")
    now, begin = last.get("length_mean"), first.get("length_mean")
    if is_number(now) and is_number(begin) and begin > 0:
        found += _length(now, begin, config)
    now, begin = last.get("distinct"), first.get("distinct")
    if is_number(now) and is_number(begin) and begin > 0:
        lowest = config.get("min_distinct_ratio") or 0.6
        if now / begin < 1 - NEAR * (1 - lowest):
            found.append(f"only {now:.0%} of the answers differ from each other, where {begin:.0%} did at first")
    if not found and is_number(drift := last.get("drift")) and drift > NEAR:
        found.append(f"{drift:.0%} of the nearest bound is used up")
    return [f"At step {step} {text}." for text in found]


def _length(now: float, begin: float, config: dict[str, Any]) -> list[str]:
    shortest, longest = config.get("min_length_ratio") or 0.5, config.get("max_length_ratio") or 2.0
    if now / begin < 1 - NEAR * (1 - shortest):
        return [f"the answers are {now:.0f} tokens long, where they were {begin:.0f} at first: they may be collapsing"]
    if now / begin > 1 + NEAR * (longest - 1):
        return [f"the answers are {now:.0f} tokens long, where they were {begin:.0f} at first: they run on"]
    return []
