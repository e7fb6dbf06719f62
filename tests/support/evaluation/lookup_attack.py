"""The look-up attack: one session gives its votes away to learn who wrote which answer; others then vote knowingly.

    outcome = looked_up(open_arena(seed), LookUp("100 visitors", visitors=100, each=2, among=12), Door.NOW)

What a door lets through is asked of the site itself: which stored answers a visitor may still be shown, and which votes
are held because an author had been told. Rows are written at once, as in tests/support/evaluation/attack.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from django.db import transaction

from annotate.arena.vote_guard import actions as vote_guard
from annotate.arena.vote_guard import disclosed_answers
from annotate.models import Comparison, Completion, Hold, Status
from benchmarks.simulated_arenas import draw_labels
from evaluation.ratings.bradley_terry import sigmoid
from tests.support.evaluation.attack import DAYS, TARGET, TIES, Arena, Cast, _pace, _pairs, defend, place_of, store


class Door(Enum):
    BEFORE = "before"  # visitors draw any stored answer, and a vote counts whoever knows its author
    NOW = "now"
    WAITING = "now, opened earlier"  # the riggers open their battles first, and vote when the table is made


@dataclass(frozen=True)
class LookUp:
    """Each of `visitors` casts `each` rigged votes among `among` votes at most; the others are like the crowd's."""

    name: str
    visitors: int
    each: int
    among: int
    given_away: int = 360  # votes by which the table is made: four hours of one session, or one of four


@dataclass(frozen=True)
class LookedUp:
    attack: LookUp
    door: Door
    before: tuple[float, int]  # rating and rank of the target when the same visitors vote without the table
    after: tuple[float, int]  # with it, and with all that the site does about it
    known: int  # votes cast in the knowledge which answer is the target's
    counted: int  # of them, those that count in the end

    @property
    def shift(self) -> float:
        return self.after[0] - self.before[0]


def looked_up(arena: Arena, attack: LookUp, door: Door, seed: int = 1) -> LookedUp:
    """What the attack does; nothing of it stays."""
    random = np.random.default_rng((seed, attack.visitors, attack.each))
    with transaction.atomic():
        table = _given_away(arena, attack, random)
        before = _without_table(arena, attack, seed)
        shown = {
            (c.prompt_id, c.model_id) for c in disclosed_answers.without_shown(Completion.objects.all(), arena.project)
        }
        cast, asked, is_rigged = _rigged(arena, attack, table if door is not Door.NOW else table & shown, seed)
        order = np.argsort(cast.seconds, kind="stable")
        ids = np.array(store(arena, cast, "rigger", random, asked))
        known = ids[is_rigged[order]].tolist()
        if door is not Door.BEFORE:
            votes = Comparison.objects.filter(pk__in=known).select_related("battle__project")
            held = [v for v in votes.select_related("battle__completion_a", "battle__completion_b") if _is_held(v)]
            vote_guard.hold(rows=held, kind=Hold.TOLD)
        defend(arena.project)
        counted = Comparison.objects.filter(pk__in=known, status=Status.COUNTED).count()
        outcome = LookedUp(attack, door, before, place_of(arena), len(known), counted)
        transaction.set_rollback(True)
    return outcome


def _without_table(arena: Arena, attack: LookUp, seed: int) -> tuple[float, int]:
    with transaction.atomic():
        cast, asked, _ = _rigged(arena, attack, set(), seed)
        store(arena, cast, "crowd", np.random.default_rng(seed), asked)
        defend(arena.project)
        place = place_of(arena)
        transaction.set_rollback(True)
    return place


def _is_held(vote: Comparison) -> bool:
    assert vote.battle is not None
    return disclosed_answers.is_disclosed(vote.battle)


def _given_away(arena: Arena, attack: LookUp, random: np.random.Generator) -> set[tuple[int, int]]:
    """The ids of (prompt, model) whose answers can be looked up from then on."""
    a, b = _pairs(attack.given_away, random)
    labels = draw_labels(sigmoid(arena.strengths[a] - arena.strengths[b]), TIES, random)
    visitor = np.arange(attack.given_away) // 90
    asked = random.integers(0, len(arena.prompts), attack.given_away)
    cast = Cast(visitor, visitor, (DAYS - 5) * 86_400 + _pace(visitor, random), a, b, labels)
    store(arena, cast, "sacrificed", random, asked)
    pairs = [*zip(asked, a, strict=True), *zip(asked, b, strict=True)]
    return {(arena.prompts[prompt].pk, arena.models[model].pk) for prompt, model in pairs}


def _rigged(
    arena: Arena, attack: LookUp, table: set[tuple[int, int]], seed: int
) -> tuple[Cast, np.ndarray, np.ndarray]:
    """The riggers' votes, the question of each, and which are cast knowingly. They start three battles for each vote,
    vote for the target where they know it, and like the crowd in some of those without it."""
    random = np.random.default_rng((seed, attack.visitors, attack.among))
    tries = attack.among * 3
    visitor = np.repeat(np.arange(attack.visitors), tries)
    a, b = _pairs(len(visitor), random)
    asked = random.integers(0, len(arena.prompts), len(visitor))
    target = arena.models[TARGET].pk
    is_target = (a == TARGET) | (b == TARGET)
    is_known = is_target & np.array([(arena.prompts[prompt].pk, target) in table for prompt in asked])
    is_rigged = is_known & (_count_within(visitor, is_known) <= attack.each)
    is_rest = ~is_target & (_count_within(visitor, ~is_target) <= attack.among - attack.each)
    labels = draw_labels(sigmoid(arena.strengths[a] - arena.strengths[b]), TIES, random)
    labels = np.where(is_rigged, np.where(a == TARGET, 0, 1), labels)
    kept = is_rigged | is_rest
    seconds = random.uniform((DAYS - 5) * 86_400, (DAYS - 0.5) * 86_400, len(visitor))
    cast = Cast(visitor[kept], visitor[kept], seconds[kept], a[kept], b[kept], labels[kept])
    return cast, asked[kept], is_rigged[kept]


def _count_within(visitor: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How many of the chosen each visitor has had so far, this one included."""
    so_far = np.cumsum(chosen)
    first = np.flatnonzero(np.diff(visitor, prepend=visitor[0] - 1))
    start = so_far[first] - chosen[first]
    return so_far - np.repeat(start, np.diff(np.r_[first, len(visitor)]))
