"""Arms are rated over new seeds, and many comparisons at once err as seldom as they say."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import experiment_errors
from benchmarks.experiment_errors import Design
from evaluation.experiments import experiment_results
from evaluation.experiments.arm_ratings import Combinations, SeedSpread, arm_means, combine, seed_spread
from evaluation.experiments.family_tests import ALL_PAIRS, compared, comparisons, judged_at_once, times_the_votes
from evaluation.models import ArmModel, Experiment, ExperimentArm
from evaluation.ratings.bradley_terry import SCALE, sigmoid

ARM = np.array([0, 1, 1, 1, 2, 2, 2])
SEEDED = ARM > 0


def test_the_spread_over_seeds_is_what_votes_do_not_explain():
    rating = np.array([1000.0, 980, 1000, 1020, 1100, 1100, 1100])
    spread = seed_spread(rating, 100.0 * np.eye(7), ARM, SEEDED)
    assert (spread.square, spread.noise, spread.freedom) == pytest.approx((200, 100, 4))
    assert spread.deviation == pytest.approx(10)
    assert seed_spread(rating, 900.0 * np.eye(7), ARM, SEEDED).deviation == 0


def test_an_interval_widens_by_the_spread_over_seeds_and_only_where_a_seed_decides():
    rating, covariance = np.zeros(7), 100.0 * np.eye(7)
    weights = arm_means(ARM, 3)
    none = combine(weights, rating, covariance, SEEDED, SeedSpread(100.0, 100.0, 1_000_000))
    wide = combine(weights, rating, covariance, SEEDED, SeedSpread(1000.0, 100.0, 1_000_000))
    assert none.reach == pytest.approx(1.96 * np.sqrt([100, 100 / 3, 100 / 3]), rel=0.05)
    assert wide.reach == pytest.approx(1.96 * np.sqrt([100, 1000 / 3, 1000 / 3]), rel=0.05)
    few = combine(weights, rating, covariance, SEEDED, SeedSpread(1000.0, 100.0, 2))
    assert few.reach[1] > 1.5 * wide.reach[1], "Student's point for two degrees of freedom is 4.3"


def test_a_family_is_each_arm_against_the_baseline_or_every_pair():
    assert comparisons([0, 1, 2], 0, "baseline") == [(1, 0), (2, 0)]
    assert comparisons([0, 1, 2], 0, ALL_PAIRS) == [(1, 0), (2, 0), (2, 1)]
    assert compared(arm_means(ARM, 3), [(1, 0)])[0] == pytest.approx([-1, 1 / 3, 1 / 3, 1 / 3, 0, 0, 0])


def test_a_comparison_among_others_needs_more_than_one_by_itself():
    rating, covariance = np.array([0.0, 29, 30, 31, 0, 0, 0]), 100.0 * np.eye(7)
    weights = compared(arm_means(ARM, 3), [(1, 0), (2, 0)])
    spread = SeedSpread(100.0, 100.0, 1_000_000)
    alone = judged_at_once(combine(weights[:1], rating, covariance, SEEDED, spread), 0.05)
    both = judged_at_once(combine(weights, rating, covariance, SEEDED, spread), 0.05)
    assert alone.p[0] < both.p[0] < 2 * alone.p[0] + 1e-3 and both.reach[0] > alone.reach[0]
    assert both.p[1] == pytest.approx(1.0, abs=0.01) and list(both.is_different(0.05)) == [True, False]


def test_an_adjusted_p_is_by_the_largest_of_a_comparison_and_those_after_it():
    random = np.random.default_rng(1)
    of = Combinations(random.standard_normal(7), random.standard_normal((500, 7)))
    p = judged_at_once(of, 0.05).p
    drawn, observed = np.abs(of.errors) / of.reach, np.abs(of.value) / of.reach
    highest = 0.0
    for k in np.argsort(-observed):
        most = drawn[:, observed <= observed[k]].max(axis=1)
        highest = max(highest, (1 + (most >= observed[k]).sum()) / 501)
        assert p[k] == highest


def reach_by_votes(spread: SeedSpread):
    """Half widths of two comparisons by how many times the votes there are."""
    weights, rating = compared(arm_means(ARM, 3), [(1, 0), (2, 0)]), np.zeros(7)

    def reach(times: float) -> np.ndarray:
        of = combine(weights, rating, 900.0 * np.eye(7) / times, SEEDED, spread.with_votes(times))
        return judged_at_once(of, 0.05).reach

    return reach


def test_so_many_times_the_votes_tell_a_difference_that_is_above_luck():
    reach = reach_by_votes(SeedSpread(1500.0, 900.0, 12))
    limit, now = float(reach(np.inf)[0]), float(reach(1)[0])
    assert 0 < limit < 60 < now
    (times, other) = times_the_votes(np.array([60.0, -60.0]), reach)
    assert 1.5 < times < 20 and reach(times)[0] == pytest.approx(60, rel=0.05)
    assert other == pytest.approx(times, rel=0.1), "whichever is the better one"
    assert times_the_votes(np.array([limit, 0.9 * limit]), reach) == [None, None], "no number of votes takes luck away"


def test_seeds_that_differ_no_more_than_votes_explain_leave_no_luck():
    """What few votes leave possible of the spread between seeds goes as they come: it is no luck of seeds."""
    reach = reach_by_votes(SeedSpread(900.0, 900.0, 4))
    assert reach(np.inf) == pytest.approx([0, 0]) and reach(100)[0] < 0.2 * reach(1)[0]
    assert None not in times_the_votes(np.array([40.0, 20.0]), reach)


def arms_with_two_models(count: int) -> list[ArmModel]:
    arms = [ExperimentArm(pk=n, name=f"arm {n}", method="sft") for n in range(count)]
    return [ArmModel(pk=n, arm=arms[n // 2]) for n in range(2 * count)]


def test_many_arms_take_no_more_quantiles_of_the_draws_than_few(monkeypatch):
    experiment = Experiment(plan={"family": "baseline", "baseline": "arm 0", "alpha": 0.05})
    quantile, asked = np.quantile, []
    monkeypatch.setattr(np, "quantile", lambda *given, **options: asked.append(1) or quantile(*given, **options))
    counts = []
    for count in (2, 6):
        a, b = np.random.default_rng(0).permuted(np.tile(np.arange(2 * count), (900, 1)), axis=1)[:, :2].T
        votes = (np.arange(900), a, b, (a + b) % 2)
        assert len(experiment_results._rated(experiment, arms_with_two_models(count), votes).arms) == count
        counts.append(len(asked))
        asked.clear()
    assert counts[0] == counts[1]


def test_the_base_has_luck_of_its_own_though_it_is_one_model():
    arms = [ExperimentArm(pk=n, name=name, method=name) for n, name in enumerate(("base", "sft", "dpo"))]
    models = [ArmModel(pk=n, arm=arms[arm]) for n, arm in enumerate((0, 1, 1, 2, 2))]
    experiment = Experiment(plan={"family": ALL_PAIRS, "baseline": "base", "alpha": 0.05})
    random = np.random.default_rng(0)
    a, b = random.permuted(np.tile(np.arange(5), (6000, 1)), axis=1)[:, :2].T
    points = np.array([0, 100, -100, 100, -100])
    won = random.random(6000) < sigmoid((points[a] - points[b]) / SCALE)
    found = experiment_results._rated(experiment, models, (np.arange(6000), a, b, np.where(won, 0, 1)))
    width = {(one.arm, one.other): one.upper - one.lower for one in found.comparisons}
    assert min(width["sft", "base"], width["dpo", "base"]) > 1.1 * width["dpo", "sft"]


@pytest.mark.slow
def test_equal_arms_are_seldom_called_different_and_a_better_one_is_found():
    equal = Design(arms=4, seeds=2, votes=400, seed_points=40)
    better = Design(arms=4, seeds=3, votes=1200, seed_points=20, gain_points=200)
    errors, power = experiment_errors.rows(120, 1, (equal, better))
    assert errors["family-wise"] <= 10 < 25 < errors["single, without seeds"]
    assert power["family-wise"] <= 10 and power["power"] >= 80


def test_an_account_that_votes_from_two_sessions_is_one_voter():
    rows = [(7, "monday", 1, 2, 0), (7, "tuesday", 2, 1, 1), (None, "monday", 1, 2, 2), (None, "tuesday", 1, 2, 2)]
    voter, a, b, label = experiment_results.vote_arrays(rows, [1, 2])
    assert voter.tolist() == [0, 0, 1, 2]
    assert (a.tolist(), b.tolist(), label.tolist()) == ([0, 1, 0, 0], [1, 0, 1, 1], [0, 1, 2, 2])
