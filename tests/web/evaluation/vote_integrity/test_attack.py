"""500 rigged votes among 5,000 honest ones, for one model of middling strength: what the leaderboard does, in numbers.

pytest -s tests/web/evaluation/vote_integrity/test_attack.py      prints the table of docs/guides/vote-defence.md
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.db import transaction
from django.utils import timezone

from annotate.models import Comparison, StatusChange, VoteTrace
from evaluation.leaderboard import rating_intervals as intervals
from tests.support.evaluation.attack import Arena, Attack, Outcome, defend, open_arena, place_of, suffered

pytestmark = pytest.mark.slow  # thousands of votes, computed upon: Postgres would say the same
CAUGHT = (
    Attack("5 visitors, naive", 5, 100, addresses=5),
    Attack("5 visitors of one address, naive", 5, 100, addresses=1),
    Attack("5 visitors, spread out", 5, 100, addresses=5, is_spread=True, camouflage=4),
    Attack("100 visitors, naive", 100, 5, addresses=100),
    Attack("100 visitors of 5 addresses, naive", 100, 5, addresses=5),
    Attack("100 visitors of 5 addresses, spread out", 100, 5, addresses=5, is_spread=True, camouflage=4),
    Attack("500 visitors, naive", 500, 1, addresses=500),
    Attack("500 visitors of 10 addresses, naive", 500, 1, addresses=10),
    Attack("500 visitors of 10 addresses, spread out", 500, 1, addresses=10, is_spread=True),
    Attack("100 visitors, spread out", 100, 5, addresses=100, is_spread=True, camouflage=4),
    Attack("500 visitors, spread out", 500, 1, addresses=500, is_spread=True),
)
# Fewer votes, from everywhere, at a reader's pace: below some number they cannot be told from a model's friends.
PATIENT = (
    Attack("50 visitors, spread out", 50, 1, addresses=50, is_spread=True),
    Attack("100 visitors, spread out", 100, 1, addresses=100, is_spread=True),
    Attack("200 visitors, spread out", 200, 1, addresses=200, is_spread=True),
    Attack("300 visitors, spread out", 300, 1, addresses=300, is_spread=True),
    Attack("20 visitors, 5 each among 25", 20, 5, addresses=20, is_spread=True, camouflage=4),
    Attack("40 visitors, 5 each among 25", 40, 5, addresses=40, is_spread=True, camouflage=4),
    Attack("150 visitors, 2 each among 6", 150, 2, addresses=150, is_spread=True, camouflage=2),
)
# Few and many visitors, one address and as many, quick and patient: the rest in script/test all.
SOME_CAUGHT = tuple(CAUGHT[n] for n in (0, 1, 8, 10))
OTHERS_CAUGHT = tuple(attack for attack in CAUGHT if attack not in SOME_CAUGHT)
MOST_LEFT = 90  # rating points that the patient ones above keep, at most


OVER_MIDNIGHT = 8  # o'clock now; the attacks of an hour or two begin 9.6 hours before, and last one and a half


@pytest.fixture
def arena(db, monkeypatch, request) -> Arena:
    """At noon, so that attacks of an hour or two begin at 02:24, or at another hour by indirect parametrization."""
    now = datetime(2026, 3, 2, getattr(request, "param", 12), 14, tzinfo=UTC)
    monkeypatch.setattr(timezone, "now", lambda: now)
    monkeypatch.setattr(intervals, "EXACT", 10**6)  # no thread in the background: it would see another transaction
    return open_arena()


def show(outcomes: list[Outcome]) -> Iterator[str]:
    yield f"{'rigged votes of':42} {'undefended':>16} {'defended':>16} {'rigged held':>12} {'honest held':>12}"
    for it in outcomes:
        without = f"{it.shift:+.0f}, {it.before[1]} to {it.undefended[1]}"
        with_it = f"{it.shift_left:+.0f}, {it.before[1]} to {it.defended[1]}"
        yield f"{it.attack.name:42} {without:>16} {with_it:>16} {it.rigged_held:>8}/{it.rigged} {it.honest_held:>12}"


@pytest.mark.thorough
def test_the_honest_alone_are_left_alone(arena):
    before = place_of(arena)
    defend(arena.project)
    assert Comparison.objects.exclude(status="counted").count() < 0.01 * arena.honest
    assert abs(place_of(arena)[0] - before[0]) < 10


@pytest.mark.parametrize(
    "attacks", [SOME_CAUGHT, pytest.param(OTHERS_CAUGHT, marks=pytest.mark.thorough)], ids=["some", "others"]
)
def test_rigged_votes_lift_a_model_and_the_defence_takes_it_back(arena, attacks):
    """Elo points by which the target moved, and from which rank to which."""
    outcomes = [suffered(arena, attack) for attack in attacks]
    print("\n" + "\n".join(show(outcomes)))
    for it in outcomes:
        assert it.rigged == 500
        assert it.shift > 90 and it.undefended[1] <= 2, f"{it.attack.name} is no attack"
        assert it.rigged_held >= 0.95 * it.rigged, it.attack.name
        assert abs(it.shift_left) < 35 and abs(it.defended[1] - it.before[1]) <= 1, it.attack.name
        assert it.honest_held < 0.1 * 5_000, it.attack.name


@pytest.mark.thorough
@pytest.mark.parametrize("arena", [OVER_MIDNIGHT], indirect=True)
def test_an_attack_over_midnight_is_taken_back_as_well(arena):
    outcome = suffered(arena, next(attack for attack in CAUGHT if attack.name == "500 visitors, naive"))
    assert outcome.rigged_held >= 0.99 * outcome.rigged


@pytest.mark.thorough
def test_what_cannot_be_told_from_a_models_friends_moves_it_so_far_and_no_further(arena):
    outcomes = [suffered(arena, attack) for attack in PATIENT]
    print("\n" + "\n".join(show(outcomes)))
    assert any(it.rigged_held < it.rigged / 2 for it in outcomes), "then say that even these are caught"
    for it in outcomes:
        assert it.shift_left < MOST_LEFT, it.attack.name


@pytest.mark.thorough
def test_what_is_held_says_why_and_is_in_the_ledger(arena):
    attack = CAUGHT[0]
    with transaction.atomic():
        from numpy.random import default_rng

        from tests.support.evaluation.attack import rigged_votes, store

        cast, _ = rigged_votes(attack, arena.strengths, default_rng(0))
        ids = store(arena, cast, "rigger", default_rng(0))
        defend(arena.project)
        held = Comparison.objects.filter(pk__in=ids, status="held")
        assert held.count() == len(ids)
        assert {vote.status_reason for vote in held} == {
            "these votes differ from all others more than preferences explain"
        }
        lines = StatusChange.objects.filter(feedback_id__in=ids)
        assert lines.count() == len(ids) and not lines.filter(by__isnull=False).exists()
        assert VoteTrace.objects.filter(battle__comparison__in=ids).exclude(held_for="pattern").count() == 0
        # Evidence that changes: with the riggers' rivals gone, nothing speaks against what is left of one of them.
        few = ids[:4]
        Comparison.objects.filter(pk__in=set(ids) - set(few)).delete()
        defend(arena.project)
        assert Comparison.objects.filter(pk__in=few, status="counted").count() == 4
        transaction.set_rollback(True)
