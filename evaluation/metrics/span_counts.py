"""Marks of two readings of one text, counted by characters and by whole spans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

# What a text adds to the sums, for one label: characters that annotators disagree on; characters not marked and marked,
# over all annotators; spans matched exactly and overlapping, counted on both sides; spans that were to be matched.
DISAGREED, BARE, MARKED, EXACT, OVERLAPPING, SPANS = range(6)
SIZE = 6
Ends = tuple[int, int]  # from the first character to that behind the last


class Reading(NamedTuple):
    """Hold what one annotator marked with one label in a text of `length` characters; `spans` is empty where they read
    it and marked nothing."""

    text: int
    judge: int
    length: int
    spans: tuple[Ends, ...]


def counts_of(readings: Sequence[Reading]) -> list[float]:
    """Return the counts of two readings or more of one text."""
    judges, length = len(readings), readings[0].length
    marking = [reading.spans for reading in readings if reading.spans]
    if not marking:
        return [0.0, float(judges * length), 0.0, 0.0, 0.0, 0.0]
    disagreed, marked = _characters([merged(spans) for spans in marking], judges)
    exact = overlapping = 0
    for one, other in combinations(marking, 2):
        exact += len(set(one) & set(other))
        overlapping += matched(one, other)
    spans = sum(map(len, marking)) * (judges - 1)
    return [disagreed, judges * length - marked, marked, 2.0 * exact, 2.0 * overlapping, float(spans)]


def _characters(marking: list[list[Ends]], judges: int) -> tuple[float, float]:
    """Return the mass of disagreement, and characters marked, over all annotators."""
    steps: defaultdict[int, int] = defaultdict(int)
    for spans in marking:
        for start, end in spans:
            steps[start] += 1
            steps[end] -= 1
    disagreed, marked, by, last = 0.0, 0.0, 0, 0
    for at in sorted(steps):
        marked += by * (at - last)
        disagreed += 2 * by * (judges - by) / (judges - 1) * (at - last)
        by, last = by + steps[at], at
    return disagreed, marked


def merged(spans: Iterable[Ends]) -> list[Ends]:
    """Return the same characters, in spans that do not touch each other."""
    ends: list[Ends] = []
    for start, end in sorted(spans):
        if ends and start <= ends[-1][1]:
            ends[-1] = (ends[-1][0], max(ends[-1][1], end))
        else:
            ends.append((start, end))
    return ends


def matched(one: Iterable[Ends], other: Iterable[Ends]) -> int:
    """Count how many spans of the one can be matched with a span of the other that they overlap, each once.

    The span that ends first takes the overlapping one that ends first: whatever else overlaps that one overlaps all
    that it might have taken in its place, so that nothing is lost.
    """
    waiting = [sorted(one, key=_by_end), sorted(other, key=_by_end)]
    n_matched = 0
    while waiting[0] and waiting[1]:
        side = int(waiting[1][0][1] < waiting[0][0][1])
        start, end = waiting[side].pop(0)
        partners = waiting[1 - side]
        for index, (begin, stop) in enumerate(partners):
            if begin < end and start < stop:
                del partners[index]
                n_matched += 1
                break
    return n_matched


def _by_end(span: Ends) -> tuple[int, int]:
    return span[1], span[0]
