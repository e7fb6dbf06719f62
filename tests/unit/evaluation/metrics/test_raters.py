"""Figures of single annotators, on numbers worked out by hand."""

import math

import numpy as np
import pytest

from evaluation.metrics import annotator_figures, careless_annotators
from evaluation.metrics.annotator_figures import FIRST, LEVEL, SECOND, Shares


def column(*values: float) -> np.ndarray:
    return np.array(values)


def test_the_first_answers_share_is_of_those_that_chose_one():
    shares = annotator_figures.first_chosen(column(0, 0, 0, 0, 1), column(FIRST, FIRST, SECOND, LEVEL, SECOND), 2)
    assert shares.hits.tolist() == [2, 0] and shares.n.tolist() == [3, 1]


def test_most_others_leave_the_judge_out():
    unit, code = column(0, 0, 0, 1, 1), column(1, 0, 0, 1, 0)
    most, number = annotator_figures.among_others(unit, code, 2)
    assert most.tolist() == [0, -1, -1, 0, 1], "of 1 and 0 neither is what most others say"
    assert number.tolist() == [2, 2, 2, 1, 1]


def test_agreement_with_others_is_set_beside_blind_answers():
    """Judge 0 says 1, 1, 1, 0 where judge 1 says 1, 1, 0, 0: three of four; blindly 3/4 · 1/2 + 1/4 · 1/2."""
    judge, unit = column(0, 0, 0, 0, 1, 1, 1, 1), column(0, 1, 2, 3, 0, 1, 2, 3)
    shares = annotator_figures.with_others(judge, unit, column(1, 1, 1, 0, 1, 1, 0, 0), 2, 2)
    assert shares.hits.tolist() == [3, 3] and shares.expected.tolist() == [0.5, 0.5]


def test_a_repeat_is_the_same_when_the_other_side_wins():
    before = column(FIRST, FIRST, SECOND, LEVEL, FIRST)
    after = column(SECOND, FIRST, SECOND, LEVEL, LEVEL)
    repeats = annotator_figures.repeats(column(0, 0, 0, 0, 0), before, after, 1)
    assert repeats.same.hits.tolist() == [2], "the first changed sides as the answers did, and level stayed level"
    assert (repeats.first.tolist(), repeats.second.tolist()) == ([1], [1])
    level = 3 / 10
    assert repeats.same.expected[0] == pytest.approx(level**2 + (1 - level) ** 2 / 2)


def test_longer_is_compared_on_the_same_items():
    """Judge 0 takes the longer one of both items; of the second one of two others does so, too."""
    judge, unit = column(0, 1, 0, 1, 2), column(0, 0, 1, 1, 1)
    share, beyond, others = annotator_figures.longer_than_others(judge, unit, column(1, 0, 1, 1, 0), 3)
    assert share.hits.tolist() == [2, 1, 0]
    assert beyond.mean[0] == pytest.approx((1 + 0.5) / 2) and others.mean[0] == pytest.approx(0.25)


def test_severity_is_told_from_the_others_severity():
    """Judge 0 is one step severer than the two others, who are alike: that makes neither of them mild."""
    random = np.random.default_rng(3)
    units, judges = 400, 3
    true = random.normal(3, 1, units)
    unit, judge = np.repeat(np.arange(units), judges), np.tile(np.arange(judges), units)
    stars = true[unit] + np.where(judge == 0, -1.0, 0.0) + random.normal(0, 0.3, units * judges)
    severity = annotator_figures.severity(judge, unit, stars, judges)
    lower, upper = severity.raw.interval(0)
    assert lower < severity.raw.mean[0] < upper
    assert severity.shrunk[0] - (severity.shrunk[1] + severity.shrunk[2]) / 2 == pytest.approx(-1, abs=0.05)
    assert abs(severity.shrunk[1] - severity.shrunk[2]) < 0.05


def test_severity_of_judges_who_are_alike_is_drawn_to_nothing():
    random = np.random.default_rng(5)
    unit, judge = np.repeat(np.arange(100), 4), np.tile(np.arange(4), 100)
    severity = annotator_figures.severity(judge, unit, random.normal(0, 1, 400), 4)
    assert np.abs(severity.shrunk).max() < np.abs(severity.raw.mean).max() / 2


def test_stars_in_step_do_not_mind_severity():
    unit, judge = np.tile(np.arange(5), 2), np.repeat([0, 1], 5)
    correlation, n = annotator_figures.in_step(judge, unit, column(1, 2, 3, 4, 5, 0, 1, 2, 3, 4), 2)
    assert correlation == pytest.approx([1, 1]) and n.tolist() == [5, 5]


def test_who_gives_one_star_always_is_in_step_with_nothing():
    unit, judge = np.tile(np.arange(5), 2), np.repeat([0, 1], 5)
    correlation, _ = annotator_figures.in_step(judge, unit, column(3, 3, 3, 3, 3, 0, 1, 2, 3, 4), 2)
    assert math.isnan(correlation[0])


def test_nobody_reads_a_thousand_characters_in_five_seconds():
    assert annotator_figures.hasty(column(0.5, 5, 15, 2), column(10, 1000, 1000, 100)).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_the_medians_interval_holds_it_as_often_as_it_says():
    random = np.random.default_rng(2)
    held = sum(
        low <= 0 <= high for _, low, high in (annotator_figures.median(random.normal(size=25)) for _ in range(800))
    )
    assert 0.93 <= held / 800 <= 0.99
    assert annotator_figures.median(column(1, 2, 3)) == (2, None, None)


@pytest.mark.parametrize(("hits", "n", "p"), [(8, 10, 0.109375), (5, 10, 1.0), (0, 5, 0.0625), (0, 0, 1.0)])
def test_the_binomial_p_is_exact(hits, n, p):
    assert annotator_figures.two_sided(hits, n) == pytest.approx(p, abs=1e-12)


def test_the_binomial_p_of_many_does_not_overflow():
    assert annotator_figures.two_sided(50_000, 100_000) == pytest.approx(1, abs=1e-6)
    assert annotator_figures.two_sided(52_000, 100_000) < 1e-30


def test_a_bet_against_an_honest_judge_gains_nothing_at_the_bound():
    """The mean of e over all outcomes of n at the bound is 1 by construction, whatever n is."""
    n, most = 12, 0.55
    k = np.arange(n + 1)
    chance = np.array([math.comb(n, x) * most**x * (1 - most) ** (n - x) for x in k])
    e = np.exp(careless_annotators.log_e_above(k, np.full(n + 1, n), most))
    assert (chance * e).sum() == pytest.approx(1, abs=1e-9)
    assert np.all(np.diff(e) > 0)


def test_a_bound_that_nobody_can_break_is_no_bet():
    assert careless_annotators.log_e_above(column(10.0), column(10.0), column(math.nan)).tolist() == [0]
    assert careless_annotators.log_e_above(column(10.0), column(10.0), column(1.0)).tolist() == [0]


def test_either_side_is_suspect():
    shares = Shares(column(60.0, 0.0, 30.0), column(60.0, 60.0, 60.0), np.full(3, 0.5))
    first, second, even = careless_annotators.one_side(shares)
    assert first == pytest.approx(second) and first > 20 and even < 0


def test_blind_annotators_are_told_from_the_crowd():
    agreeing = Shares(column(85.0, 80.0, 90.0, 50.0), np.full(4, 100.0), np.full(4, 0.5))
    evidence = careless_annotators.weigh({"others": careless_annotators.too_blind(agreeing)}, 4)
    assert [each.is_flagged for each in evidence] == [False, False, False, True]
    assert evidence[3].reasons == ["others"]


def test_a_crowd_that_is_blind_itself_accuses_nobody():
    blind = Shares(column(50.0, 48.0, 51.0, 20.0), np.full(4, 100.0), np.full(4, 0.5))
    assert not any(e.is_flagged for e in careless_annotators.weigh({"others": careless_annotators.too_blind(blind)}, 4))


def test_more_annotators_need_more_evidence_and_more_guilty_ones_less():
    """The k-th largest of J e-values must reach J / (promise · k)."""
    just_enough = math.log(2 / 0.25 / 0.1) + 1e-9
    few, many = np.full(2, just_enough), np.zeros(200)
    few[1] = -5
    many[0] = just_enough
    assert careless_annotators.weigh({"side": few}, 2)[0].is_flagged
    assert not careless_annotators.weigh({"side": many}, 200)[0].is_flagged
    assert all(e.is_flagged for e in careless_annotators.weigh({"side": np.full(200, just_enough)}, 200))


def test_an_unknown_suspicion_is_refused():
    with pytest.raises(ValueError, match="jealousy"):
        careless_annotators.weigh({"jealousy": np.zeros(1)}, 1)


def test_no_annotators_are_no_error():
    assert careless_annotators.weigh({}, 0) == []
