"""The watch over the share of held votes: seldom a false alarm, and soon a true one."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.vote_integrity import rate_change
from evaluation.vote_integrity.bursts import is_flooding, ranks_in_burst


@pytest.mark.thorough
@pytest.mark.slow
def test_false_alarms_come_more_rarely_than_stated(monkeypatch):
    """At the very share that is called usual, 100 streams of 4,000 votes: at EVERY = 2,000 they may cry 200 times."""
    monkeypatch.setattr(rate_change, "EVERY", 2_000)
    random, usual = np.random.default_rng(0), 0.05
    alarms = 0
    for _ in range(100):
        evidence, votes = [], random.random(4_000) < usual
        for first in range(0, 4_000, 500):  # looked at again and again: nothing changes by it
            evidence, alarm = rate_change.watch(votes[first : first + 500], usual, evidence)
            alarms += alarm is not None
    assert alarms <= 200


@pytest.mark.slow
def test_below_the_usual_share_it_is_silent():
    random = np.random.default_rng(1)
    assert rate_change.watch(random.random(50_000) < 0.01, rate_change.FLOOR)[1] is None


@pytest.mark.slow
@pytest.mark.parametrize(("share", "within"), [(0.2, 150), (0.5, 40), (1.0, 12)])
def test_a_jump_is_seen_within_so_many_votes(share, within):
    delays = []
    for seed in range(40):
        random = np.random.default_rng((2, seed))
        quiet, loud = random.random(2_000) < 0.02, random.random(2_000) < share
        evidence, early = rate_change.watch(quiet, 0.03)
        assert early is None
        delays.append(rate_change.watch(loud, 0.03, evidence)[1])
    assert np.median(delays) < within and max(delays) < 3 * within


def test_looking_in_parts_is_looking_at_once():
    votes = np.random.default_rng(3).random(1_000) < 0.04
    whole, _ = rate_change.watch(votes, 0.05)
    part, _ = rate_change.watch(votes[:300], 0.05)
    part, _ = rate_change.watch(votes[300:], 0.05, part)
    assert part == pytest.approx(whole)


def test_after_an_alarm_the_watch_begins_anew():
    evidence, alarm = rate_change.watch([True] * 100, 0.03)
    assert alarm is not None and alarm < 20 and max(evidence) < rate_change.EVERY * len(rate_change.TIMES)


def test_the_usual_share_follows_the_past_and_never_falls_below_the_floor():
    assert (
        rate_change.usual_share(0, 0) > rate_change.FLOOR and rate_change.usual_share(0, 100_000) == rate_change.FLOOR
    )
    assert 0.1 < rate_change.usual_share(1_000, 10_000) < 0.12
    assert rate_change.usual_share(100, 100) <= 0.99


@pytest.mark.parametrize("usual", [0, 1, -0.1])
def test_a_share_that_is_none_is_refused(usual):
    with pytest.raises(ValueError, match="between 0 and 1"):
        rate_change.watch([True], usual)


# Floods


def test_places_count_within_ten_minutes_of_one_address():
    at = np.array([0.0, 10, 20, 300, 599, 601, 5_000])
    assert ranks_in_burst(["a", "a", "b", "a", "a", "a", "a"], at).tolist() == [1, 2, 1, 3, 4, 4, 1]


def test_at_most_a_thousandth_of_honest_votes_are_a_flood_whatever_their_distribution():
    random, flagged, total = np.random.default_rng(4), 0, 0
    for _ in range(200):
        place = np.ceil(random.pareto(1.0, 6_000) + 1).astype(int)  # heavy-tailed: classes of any size
        flagged += int(is_flooding(place[5_000:], place[:5_000]).sum())
        total += 1_000
    assert flagged / total <= 0.0012


def test_a_flood_is_one_and_before_enough_is_known_nothing_is():
    usual = np.random.default_rng(5).integers(1, 12, 5_000)
    flood = np.arange(1, 201)
    assert is_flooding(flood, usual)[20:].all() and not is_flooding(flood, usual)[:19].any()
    assert not is_flooding(flood, usual[:500]).any()
