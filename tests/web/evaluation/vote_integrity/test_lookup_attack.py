"""A rigger who has looked up who wrote which stored answer: what the leaderboard does, in numbers.

SEEDS=0,1,2 pytest -s tests/web/evaluation/vote_integrity/test_lookup_attack.py      prints the table of
docs/experiments/look-up-attack.md
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import pytest
from django.db import transaction

from evaluation.leaderboard import rating_intervals as intervals
from tests.support.evaluation.attack import open_arena
from tests.support.evaluation.lookup_attack import Door, LookedUp, LookUp, looked_up

pytestmark = pytest.mark.slow  # as test_attack
SEEDS = [int(seed) for seed in os.environ.get("SEEDS", "0").split(",")]
ATTACKS = (
    LookUp("150 visitors, 2 each among 6", 150, 2, 6),
    LookUp("100 visitors, 3 each among 12", 100, 3, 12),
    LookUp("300 visitors, 1 each among 4", 300, 1, 4),
)
MOST_LEFT = 20  # rating points


def show(outcomes: Iterable[tuple[int, LookedUp]]) -> Iterator[str]:
    yield f"{'looked-up votes of':32} {'door':>20} {'seed':>4} {'target':>14} {'known':>6} {'counted':>8}"
    for seed, it in sorted(outcomes, key=lambda pair: (pair[1].attack.name, pair[1].door.value, pair[0])):
        moved = f"{it.shift:+.0f}, {it.before[1]} to {it.after[1]}"
        yield f"{it.attack.name:32} {it.door.value:>20} {seed:>4} {moved:>14} {it.known:>6} {it.counted:>8}"


@pytest.mark.thorough
def test_a_rigger_who_knows_the_table_moves_the_target_by_little_and_no_rank(db, monkeypatch):
    monkeypatch.setattr(intervals, "EXACT", 10**6)  # no thread in the background: it would see another transaction
    outcomes: list[tuple[int, LookedUp]] = []
    for seed in SEEDS:
        with transaction.atomic():
            arena = open_arena(seed)
            some = ATTACKS if len(SEEDS) > 1 else ATTACKS[:1]
            outcomes += [(seed, looked_up(arena, attack, door)) for attack in some for door in Door]
            transaction.set_rollback(True)
    print("\n" + "\n".join(show(outcomes)))
    before = [it.shift for _, it in outcomes if it.door is Door.BEFORE]
    assert max(before) > 2 * MOST_LEFT, "this is no attack"
    for _, it in outcomes:
        if it.door is not Door.BEFORE:
            assert abs(it.shift) < MOST_LEFT and it.after[1] == it.before[1], f"{it.attack.name}: {it.door}"
