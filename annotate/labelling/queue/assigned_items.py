"""Describe what one assignment asks about: an answer to rate, two to compare, some to rank, or a prompt to answer.

And say which assignments fill a place of their item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from django.db.models import QuerySet
from django.utils import timezone

from annotate.models import Assignment, Project

RATE, COMPARE = Assignment.Kind.RATE.value, Assignment.Kind.COMPARE.value
RANK, WRITE = Assignment.Kind.RANK.value, Assignment.Kind.WRITE.value
KINDS = (RATE, COMPARE, RANK, WRITE)
FEWEST_TO_RANK, MOST_TO_RANK = 3, 6
MOST_TO_PAIR = 64  # answers to one prompt whose pairs are asked about: 2,016 pairs


@dataclass(frozen=True)
class Item:
    """Completions of one prompt, ids in ascending order; none where an answer is to be written."""

    prompt_id: int
    completion_ids: tuple[int, ...] = ()
    kind: str = ""  # from the number of completions, where it is not said

    @classmethod
    def of_key(cls, prompt_id: int, key: str) -> Item:
        """Return the item of a key that names completions: to rate, to compare or to rank."""
        kind, _, ids = key.partition(":")
        return cls(prompt_id, tuple(int(pk) for pk in ids.split(":")), kind)

    @property
    def key(self) -> str:
        """Return the key; both annotators of a pair have the same, whichever answer they saw first."""
        ids = self.completion_ids
        kind = self.kind or {0: WRITE, 1: RATE, 2: COMPARE}.get(len(ids), RANK)
        return ":".join([kind, *map(str, ids or [self.prompt_id])])


def items_of(prompt: int, kind: str, answers: Sequence[tuple[int, str]]) -> list[Item]:
    """Return all items of `kind` of a prompt with these answers, (id, text) in ascending order of ids.

    Two answers in the same words are never set against each other: nobody could tell which is better.
    """
    if kind == WRITE:
        return [Item(prompt)]
    if kind == RATE:
        return [Item(prompt, (pk,)) for pk, _ in answers]
    if kind == RANK:
        return [Item(prompt, ids, RANK) for ids in _to_rank(_different(answers))]
    paired = answers[:MOST_TO_PAIR]
    return [
        Item(prompt, (a, b))
        for (a, text), (b, other_text) in combinations(paired, 2)
        if text.strip() != other_text.strip()
    ]


def level_of(items: Sequence[Item], counts_by_item: Mapping[str, int]) -> float:
    """Return how often the least annotated item is annotated, plus the share of items that are annotated more often."""
    if not counts_by_item:  # of prompts that have just come, perhaps a million
        return 0.0
    counts = [counts_by_item.get(item.key, 0) for item in items]
    least = min(counts)
    return least + sum(count > least for count in counts) / len(counts)


def taken(project: Project, *, is_simulated: bool) -> QuerySet[Assignment]:
    """Return the assignments that fill a place of their item: done, or in somebody's hands, in time.

    People and simulations each have places of their own: a simulation never uses up what a person could judge.
    """
    work = project.assignments.filling(is_simulated=is_simulated)
    return work.exclude(state=Assignment.State.OPEN, expires_at__lte=timezone.now()).order_by()


def _different(answers: Sequence[tuple[int, str]]) -> list[int]:
    first: dict[str, int] = {}
    for pk, text in answers:
        first.setdefault(text.strip(), pk)
    return sorted(first.values())


def _to_rank(ids: Sequence[int]) -> list[tuple[int, ...]]:
    """Split answers into groups of six as they came, so that later answers change no group; a remainder below three
    takes some of the group before it."""
    if len(ids) < FEWEST_TO_RANK:
        return []
    starts = range(0, len(ids), MOST_TO_RANK)
    groups = [tuple(ids[at : at + MOST_TO_RANK]) for at in starts]
    if len(groups[-1]) < FEWEST_TO_RANK:
        groups[-1] = tuple(ids[-FEWEST_TO_RANK:])
    return groups
