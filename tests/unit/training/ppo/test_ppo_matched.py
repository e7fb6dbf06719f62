"""How benchmarks.ppo_matched compares runs of several seeds."""

from __future__ import annotations

import pytest

from benchmarks import ppo_matched


def run_of(gain: float, pace: float = 1.0) -> list[ppo_matched.Step]:
    """A run whose KL grows by `pace` a step, and whose score is `gain` for each nat."""
    return [{"kl": pace * step, "score": gain * pace * step} for step in range(9)]


def test_seeds_are_compared_at_the_same_kl_and_after_the_same_episodes():
    peers, ours = [run_of(0.9), run_of(1.1)], [run_of(1.4, 2.0), run_of(1.5, 2.0), run_of(1.6, 2.0)]
    half, whole, last = ppo_matched.over_seeds(peers, ours)
    assert (half["at"], whole["at"], last["at"]) == ("KL 3.5", "KL 7.0", "128 episodes")
    assert whole["peers"] == pytest.approx(7.0) and whole["ours"] == pytest.approx(10.5)
    assert last["difference"] == pytest.approx(14 * 1.5 - 7), "after as many episodes ours is twice as far"
    assert whole["seeds"] == [2, 3]
    # By hand: variances 0.98 / 2 and 0.49 / 3 add to 0.6533, with 1.68 degrees of freedom, of which Student's is 5.88.
    assert whole["half"] == pytest.approx(5.88 * 0.6533**0.5, abs=0.01)


def test_one_seed_has_no_interval():
    assert ppo_matched.over_seeds([run_of(1.0)], [run_of(1.5), run_of(1.4)]) == []
