"""Turn a ranking into groups of equals, best first, and into its pairs. Pure: no Django."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

FEWEST, MOST = 3, 6


@dataclass(frozen=True)
class RankedPair:
    """Two completions in the order shown, and which stands higher."""

    completion_a: int
    completion_b: int
    winner: str


def pairs(order: Sequence[Sequence[int]], shown: Sequence[int]) -> list[RankedPair]:
    """Return all K(K-1)/2 pairs; A is the one that was shown first, and equals tie."""
    group_by_id = {completion: group for group, equals in enumerate(order) for completion in equals}
    return [RankedPair(a, b, _winner(group_by_id[a], group_by_id[b])) for a, b in combinations(shown, 2)]


def _winner(a: int, b: int) -> str:
    return "tie" if a == b else "model_a" if a < b else "model_b"


def groups(ranks: Mapping[int, int]) -> list[list[int]]:
    """Return groups from a place for each completion, 1 the best and equal places equals: 1, 1, 3 and 1, 1, 2 are the
    same."""
    return [[c for c, value in ranks.items() if value == rank] for rank in sorted(set(ranks.values()))]


def places(order: Sequence[Sequence[int]]) -> dict[int, int]:
    """Return the place of each completion: 1 for the best, and one more for each group below."""
    return {completion: number for number, equals in enumerate(order, start=1) for completion in equals}


def problem(order: object, shown: Sequence[int]) -> str:
    """Return what is wrong with an order of these completions, and what would be right; empty when nothing is."""
    like = "send groups of ids, the best first and equals together, such as [[12], [15, 18]]"
    if not isinstance(order, list) or not all(isinstance(equals, list) and equals for equals in order):
        return f"This is not a list of groups; {like}."
    flat = [completion for equals in order for completion in equals]
    if not all(type(completion) is int for completion in flat):
        return f"A group has a value that is not an id; {like}."
    if len(set(flat)) != len(flat):
        return "An answer has two places; give each answer one place."
    if strangers := set(flat) - set(shown):
        return f"{min(strangers)} is not among the answers shown; rank {', '.join(map(str, shown))}."
    if missing := [completion for completion in shown if completion not in flat]:
        return f"{len(missing)} of the {len(shown)} answers have no place; give each answer one place."
    return ""
