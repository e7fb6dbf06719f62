"""Expected against observed, circles, sides, connections: against scipy, simulation, and boards drawn by hand."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, chi2

from common.distributions import chi_square_tail
from common.intervals import wilson
from evaluation.ratings import Tally, tally_indices, tally_totals
from evaluation.ratings.bradley_terry import SCALE, fit
from evaluation.ratings.exposure import connectivity, position, sampling
from evaluation.ratings.pair_residuals import cycles, majority_chances, residuals


def simulate(strengths: np.ndarray, votes: int, kappa: float, random: np.random.Generator, side: float = 0.0) -> Tally:
    """Bradley-Terry in the mean score, ties in place of a share kappa of the underdog's coin, `side` log-odds for A."""
    size = len(strengths)
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    p = 1 / (1 + np.exp(strengths[b] - strengths[a] - side))
    ties = 2 * kappa * np.minimum(p, 1 - p)
    drawn = random.random(votes)
    label = np.where((drawn >= p - ties / 2) & (drawn < p + ties / 2), 2, np.where(drawn < p - ties / 2, 0, 1))
    return Tally(tuple(range(size)), tally_indices(a, b, label, size))


def board(*totals):
    return fit(tally_totals(totals))


def circle(n: int, m: int):
    """x beats y beats z beats x, n to m each."""
    return board(*[(a, b, label, c) for a, b in ("xy", "yz", "zx") for label, c in (("model_a", n), ("model_b", m))])


class TestTails:
    @pytest.mark.parametrize(("value", "degrees"), [(3, 2), (100, 80), (5000, 4851), (0.1, 7), (400, 3), (0, 4)])
    def test_chi_square_agrees_with_scipy(self, value, degrees):
        assert chi_square_tail(value, degrees) == pytest.approx(chi2.sf(value, degrees), rel=1e-9)

    def test_wilson_of_a_known_share(self):
        """Newcombe (1998): 15 of 148 has 0.0624 to 0.1605."""
        assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)

    def test_no_degrees_are_refused(self):
        with pytest.raises(ValueError, match="degrees"):
            chi_square_tail(1.0, 0)


class TestExpectedAgainstObserved:
    def test_a_circle_fits_badly_and_each_pair_says_so(self):
        """30 to 10 round a circle: all rated level, each pair 10 wins off its 20, √10 in standard deviations each."""
        found = residuals(circle(30, 10))
        assert found.expected[0, 1] == pytest.approx(0.5)
        assert found.observed[0, 1] == pytest.approx(0.75)
        assert (found.chi_square, found.degrees) == (pytest.approx(30), 1)
        assert found.p_value == pytest.approx(chi2.sf(30, 1))
        assert abs(found.residual[0, 1]) == pytest.approx(np.sqrt(30))  # one degree: all three say the same

    def test_what_the_row_has_too_much_the_column_has_too_little(self):
        found = residuals(fit(simulate(np.zeros(4), 400, 0.3, np.random.default_rng(0))))
        assert found.residual == pytest.approx(-found.residual.T, nan_ok=True)

    def test_a_pair_that_alone_joins_two_models_cannot_be_off(self):
        found = residuals(board(("x", "y", "model_a", 30), ("y", "x", "model_a", 10), ("y", "z", "tie", 9)))
        assert np.isnan(found.residual).all()
        assert found.p_value is None

    def test_pairs_that_never_met_are_blank(self):
        found = residuals(board(("x", "y", "tie", 3), ("v", "w", "tie", 3)))
        assert np.isnan(found.expected[0, 2])
        assert np.isnan(found.observed[0, 2])
        assert found.degrees == 0

    def test_few_votes_per_pair_are_told(self):
        assert residuals(circle(2, 1)).is_sparse
        assert not residuals(circle(20, 10)).is_sparse

    @pytest.mark.slow
    @pytest.mark.parametrize("kappa", [0.0, 0.5])
    def test_residuals_are_standard_and_p_values_even_when_the_ratings_are_right(self, kappa):
        random = np.random.default_rng(2)
        rows = [residuals(fit(simulate(random.normal(0, 0.6, 6), 1200, kappa, random))) for _ in range(200)]
        standard = np.concatenate([row.residual[np.triu_indices(6, 1)] for row in rows])
        p = np.array([row.p_value for row in rows])
        assert np.std(standard) == pytest.approx(1, abs=0.04)
        assert 0.04 < np.mean(np.abs(standard) > 1.96) < 0.06
        assert np.mean(p < 0.1) == pytest.approx(0.1, abs=0.06)
        assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.1)


class TestCycles:
    def test_a_circle_of_clear_majorities_is_found_and_is_more_than_chance(self):
        """Level models go round in a quarter of draws; three clear majorities each 30 to 10 are listed as sure."""
        found = cycles(circle(30, 10), draws=400)
        assert (found.count, found.sure) == (1, 1)
        assert found.listed[0].weakest == pytest.approx(20 / np.sqrt(40))
        assert found.expected == pytest.approx(0.25, abs=0.07)

    def test_the_count_is_that_of_all_triples(self):
        tally = simulate(np.zeros(9), 300, 0.2, np.random.default_rng(3))
        wins = tally.wins
        beats = lambda i, j: wins[i, j] > wins[j, i]  # noqa: E731
        by_hand = sum(
            (beats(i, j) and beats(j, k) and beats(k, i)) or (beats(j, i) and beats(k, j) and beats(i, k))
            for i, j, k in itertools.combinations(range(9), 3)
        )
        found = cycles(fit(tally), draws=20, listed=1000)
        assert found.count == by_hand == len(found.listed) > 0
        for cycle in found.listed:
            i, j, k = cycle.models
            assert beats(i, j) and beats(j, k) and beats(k, i)
        assert [c.weakest for c in found.listed] == sorted((c.weakest for c in found.listed), reverse=True)

    def test_ratings_that_hold_explain_their_circles(self):
        random = np.random.default_rng(4)
        p = [cycles(fit(simulate(random.normal(0, 0.3, 10), 900, 0.3, random)), draws=50).p_value for _ in range(40)]
        assert np.mean(np.array(p) <= 0.1) <= 0.2

    def test_rock_paper_scissors_among_many_models_is_more_than_chance(self):
        size = 12
        ahead = [(i, (i + step) % size) for i in range(size) for step in range(1, 6)]
        totals = [(i, j, label, n) for i, j in ahead for label, n in (("model_a", 14), ("model_b", 6))]
        found = cycles(fit(tally_totals(totals)), draws=100)
        assert found.p_value == pytest.approx(1 / 101)
        assert found.count > found.expected

    @pytest.mark.parametrize(("mean", "ties"), [(0.5, 0.0), (0.7, 0.0), (0.6, 0.3), (0.2, 0.4), (0.5, 1.0)])
    def test_who_leads_a_pair_has_the_chances_of_all_its_outcomes(self, mean, ties):
        """Counted out for 1 to 9 votes over all outcomes; beyond what is counted out, against a binomial sum."""
        win, loss = mean - ties / 2, 1 - mean - ties / 2
        for votes in (1, 4, 9, 60, 61):
            level = [math.comb(votes, k) * ties**k * (1 - ties) ** (votes - k) for k in range(votes + 1)]
            ahead = sum(
                share * binom.sf((votes - k) / 2, votes - k, win / (win + loss) if ties < 1 else 0.5)
                for k, share in enumerate(level)
            )
            found, _ = majority_chances(np.array([votes]), np.array([mean]), np.array([ties]))
            back, behind = majority_chances(np.array([votes]), np.array([1 - mean]), np.array([ties]))
            assert found[0] == pytest.approx(ahead, abs=1e-9 if votes < 10 else 4e-3)
            assert behind[0] == pytest.approx(found[0], abs=1e-12)
            assert back[0] + found[0] <= 1 + 1e-12


class TestPosition:
    def test_the_share_counts_decisive_votes(self):
        found = position(board(("x", "y", "model_a", 60), ("y", "x", "model_b", 40), ("x", "y", "tie", 99)))
        assert found.share == 0.6
        assert found.share_interval == pytest.approx(wilson(60, 100))

    def test_what_the_first_place_is_worth_is_recovered_in_points(self):
        """0.3 log-odds are 52 points; 30 boards, mean within noise and intervals that hold it."""
        random = np.random.default_rng(5)
        positions = [position(fit(simulate(np.array([0.5, 0, -0.4]), 2000, 0.3, random, side=0.3))) for _ in range(60)]
        truth = 0.3 * 400 / np.log(10)
        assert np.mean([f.points for f in positions]) == pytest.approx(truth, abs=4)
        assert np.mean([f.points_interval[0] < truth < f.points_interval[1] for f in positions]) >= 0.85

    def test_a_model_that_gains_by_being_first_stands_out(self):
        rows = [("x", "y", 80, 20), ("y", "x", 50, 50), ("z", "y", 50, 50), ("y", "z", 50, 50)]
        totals = [
            (a, b, label, n) for a, b, *both in rows for label, n in zip(("model_a", "model_b"), both, strict=True)
        ]
        found = position(board(*totals))
        assert found.effect[0] == pytest.approx(0.3)
        assert found.effect_lower[0] > 0
        assert found.effect_lower[2] < 0 < found.effect_upper[2]
        assert found.shown_first.tolist() == [100, 200, 100]

    @pytest.mark.parametrize(("label", "sign"), [("model_a", 1), ("model_b", -1)])
    def test_a_side_that_always_won_is_worth_a_finite_number_that_grows_with_the_votes(self, label, sign):
        """Ten votes between equals, all for one side: ln((10 + ½)/½) log-odds, and an interval as wide as that."""
        few, more = (position(board(("x", "y", label, n), ("y", "x", label, n))) for n in (5, 50))
        assert few.points == pytest.approx(sign * SCALE * math.log(10.5 / 0.5), abs=1e-6)
        assert abs(few.points) < abs(more.points) < 1000
        low, high = few.points_interval
        assert low < few.points < high and high - low > 500

    def test_votes_without_spread_tell_no_effect_of_a_side(self):
        found = position(board(("x", "y", "tie", 9), ("y", "x", "tie", 9)))
        assert np.isnan([found.effect, found.effect_lower, found.effect_upper]).all()

    def test_ties_alone_say_nothing_of_sides(self):
        found = position(board(("x", "y", "tie", 9)))
        assert found.share is None
        assert found.points is None
        assert found.share_interval == (0, 1)


class TestConnections:
    def test_a_chain_is_all_bridges_and_a_ring_has_none(self):
        chain = [("a", "b", "tie", 3), ("b", "c", "tie", 1), ("c", "d", "tie", 2)]
        assert [(x.i, x.j, x.votes) for x in connectivity(tally_totals(chain)).bridges] == [
            (0, 1, 3),
            (1, 2, 1),
            (2, 3, 2),
        ]
        ring = connectivity(tally_totals([*chain, ("d", "a", "tie", 1)]))
        assert ring.bridges == ()
        assert ring.weakest_cut[0] == 2

    def test_parts_that_no_vote_joins(self):
        found = connectivity(tally_totals([("a", "b", "tie", 1), ("c", "d", "tie", 4), ("d", "e", "tie", 1)]))
        assert found.parts == ((2, 3, 4), (0, 1))
        assert not found.is_connected
        assert found.weakest_cut == (1, (4,))

    def test_bridges_and_cuts_are_those_of_trying_them_all(self):
        random = np.random.default_rng(7)
        for _ in range(30):
            size = 7
            played = np.triu(random.integers(1, 9, (size, size)) * (random.random((size, size)) < 0.35), 1)
            cells = np.zeros((size, size, 4))
            cells[:, :, 2] = played
            found = connectivity(Tally(tuple(range(size)), cells))
            whole = len(found.parts)
            for i, j in zip(*np.nonzero(played), strict=True):
                without = cells.copy()
                without[i, j] = 0
                apart = len(connectivity(Tally(tuple(range(size)), without)).parts) > whole
                assert apart == any((x.i, x.j) == (i, j) for x in found.bridges)
            if len(found.parts[0]) > 1:
                main = list(found.parts[0])
                both = played + played.T
                cuts = [
                    both[np.ix_(side, [m for m in main if m not in side])].sum()
                    for n in range(1, len(main))
                    for side in itertools.combinations(main, n)
                ]
                assert found.weakest_cut[0] == min(cuts)

    def test_uneven_sampling_is_told_as_a_ratio_to_even(self):
        found = sampling(tally_totals([("x", "y", "tie", 6), ("y", "z", "tie", 3)]))
        assert found.battles.tolist() == [6, 9, 3]
        assert found.share.sum() == pytest.approx(1)
        assert found.ratio == pytest.approx([1, 1.5, 0.5])
        assert found.pair_ratio[0, 1] == pytest.approx(2)
        assert found.pair_ratio[0, 2] == 0
