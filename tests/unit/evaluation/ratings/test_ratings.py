"""Ratings against numbers worked out by hand, by scipy on raw votes, by choix, and by simulated voters."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from evaluation.ratings import Tally, bootstrap, tally_indices, tally_totals, tally_votes
from evaluation.ratings.bradley_terry import CENTRE, SCALE, Z95, fit

GOLDEN = json.loads((Path(__file__).parents[4] / "tests/support/golden/choix.json").read_text())


def votes_between(a: str, b: str, wins: int = 0, losses: int = 0, ties: int = 0) -> list[tuple[str, str, str, int]]:
    return [(a, b, "model_a", wins), (a, b, "model_b", losses), (a, b, "tie", ties)]


def fit_of(*totals):
    return fit(tally_totals([row for rows in totals for row in rows if row[3]]))


def place(fitted, *models):
    return [fitted.models.index(model) for model in models]


def simulate(strengths: np.ndarray, votes: int, ties: float, random: np.random.Generator) -> Tally:
    """Votes of voters who follow Bradley-Terry on the decisive ones, over pairs drawn evenly."""
    size = len(strengths)
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    wins = random.random(votes) < 1 / (1 + np.exp(strengths[b] - strengths[a]))
    label = np.where(random.random(votes) < ties, 2, np.where(wins, 0, 1))
    return Tally(tuple(range(size)), tally_indices(a, b, label, size))


def raw_votes(tally: Tally) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, label = np.nonzero(tally.cells)
    counts = tally.cells[a, b, label].astype(int)
    return tuple(np.repeat(x, counts) for x in (a, b, np.array([1, 0, 0.5, 0.5])[label]))


class TestTally:
    def test_a_win_counts_for_the_winner_wherever_it_stood(self):
        tally = tally_votes(["x", "y"], ["y", "x"], ["model_a", "model_b"])
        assert tally.wins.tolist() == [[0, 2], [0, 0]]

    def test_both_bad_counts_as_a_tie(self):
        tally = tally_votes(["x", "x"], ["y", "y"], ["tie", "both_bad"])
        assert tally.ties.tolist() == [[0, 2], [2, 0]]
        assert tally.wins.sum() == 0

    def test_battles_count_each_vote_once_for_both_models(self):
        tally = tally_votes(["x", "x", "y"], ["y", "z", "x"], ["tie", "model_a", "model_b"])
        assert dict(zip(tally.models, tally.battles, strict=True)) == {"x": 3, "y": 2, "z": 1}
        assert tally.votes == 3

    @pytest.mark.parametrize("label", ["A", "", None, "tie (bothbad)"])
    def test_an_unknown_winner_is_named_and_never_taken_for_a_tie(self, label):
        with pytest.raises(ValueError, match="unknown winner"):
            tally_votes(["x"], ["y"], [label])

    def test_a_model_against_itself_is_refused(self):
        with pytest.raises(ValueError, match="itself"):
            tally_votes(["x"], ["x"], ["tie"])

    def test_columns_of_unequal_length_are_refused(self):
        with pytest.raises(ValueError, match="a vote needs all"):
            tally_votes(["x", "y"], ["y"], ["tie"])

    def test_an_index_out_of_range_is_refused(self):
        with pytest.raises(ValueError, match="winner"):
            tally_indices(np.array([0]), np.array([1]), np.array([4]), 2)

    def test_the_share_of_the_first_shown_leaves_ties_out(self):
        tally = tally_votes(["x"] * 5, ["y"] * 5, ["model_a", "model_a", "model_a", "model_b", "tie"])
        assert tally.a_wins_share == 0.75

    def test_grouped_totals_give_the_tally_of_single_votes(self):
        single = tally_votes(["x", "x", "y"], ["y", "y", "x"], ["model_a", "model_a", "tie"])
        grouped = tally_totals([("x", "y", "model_a", 2), ("y", "x", "tie", 1)])
        assert np.array_equal(single.cells, grouped.cells)


class TestRatings:
    def test_two_models_differ_by_the_log_odds_of_their_wins(self):
        fitted = fit_of(votes_between("x", "y", wins=30, losses=10))
        x, y = place(fitted, "x", "y")
        assert fitted.rating[x] - fitted.rating[y] == pytest.approx(400 * math.log10(30 / 10), abs=1e-6)
        assert fitted.rating.mean() == pytest.approx(1000)

    def test_a_tie_is_half_a_win_for_each(self):
        fitted = fit_of(votes_between("x", "y", wins=20, losses=10, ties=10))
        assert fitted.difference(0, 1).value == pytest.approx(400 * math.log10(25 / 15), abs=1e-6)

    def test_the_interval_of_two_models_is_that_of_a_log_odds(self):
        """Without ties the sandwich at the maximum is Wald's 1/a + 1/b."""
        fitted = fit_of(votes_between("x", "y", wins=30, losses=10))
        difference = fitted.difference(0, 1)
        assert difference.upper - difference.value == pytest.approx(Z95 * SCALE * math.sqrt(1 / 30 + 1 / 10), rel=1e-6)

    def test_ties_make_the_interval_narrower_than_coin_tosses_would(self):
        split = fit_of(votes_between("x", "y", wins=50, losses=50)).standard_error[0]
        level = fit_of(votes_between("x", "y", wins=25, losses=25, ties=50)).standard_error[0]
        assert level == pytest.approx(split / math.sqrt(2), rel=1e-6)

    def test_agrees_with_choix(self):
        wins = np.array(GOLDEN["wins"])
        totals = [(i, j, "model_a", int(wins[i, j])) for i in range(5) for j in range(5) if wins[i, j]]
        fitted = fit(tally_totals(totals))
        order = place(fitted, *range(5))
        assert fitted.rating[order] == pytest.approx(GOLDEN["rating"], abs=1e-4)

    def test_agrees_with_scipy_on_raw_votes_in_rating_and_in_sandwich(self):
        tally = simulate(np.array([0.8, 0.3, 0.0, -0.2, -0.9]), 600, 0.25, np.random.default_rng(3))
        a, b, y = raw_votes(tally)
        design = np.eye(5)[a] - np.eye(5)[b]

        def loss(r):
            gap = design @ r
            return (y * np.logaddexp(0, -gap) + (1 - y) * np.logaddexp(0, gap)).sum()

        r = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9}).x
        p = 1 / (1 + np.exp(-design @ r))
        scores = design * (y - p)[:, None]
        inverse = np.linalg.pinv(design.T @ (design * (p * (1 - p))[:, None]))
        fitted = fit(tally)
        assert fitted.rating == pytest.approx(CENTRE + SCALE * (r - r.mean()), abs=1e-2)
        assert fitted.covariance == pytest.approx(
            SCALE**2 * inverse @ (scores.T @ scores) @ inverse, rel=1e-3, abs=1e-2
        )

    def test_the_order_of_votes_does_not_matter(self):
        votes = [("x", "y", "model_a"), ("y", "z", "tie"), ("z", "x", "model_a"), ("x", "y", "model_b")] * 3
        forward, backward = (
            fit(tally_votes(*zip(*votes, strict=True))),
            fit(tally_votes(*zip(*votes[::-1], strict=True))),
        )
        assert dict(zip(forward.models, forward.rating.round(6), strict=True)) == dict(
            zip(backward.models, backward.rating.round(6), strict=True)
        )

    def test_a_lopsided_finite_fit_converges(self):
        fitted = fit_of(
            votes_between("x", "y", wins=100_000, losses=1), votes_between("y", "z", wins=100_000, losses=1)
        )
        assert fitted.difference(0, 2).value == pytest.approx(2 * 400 * 5, rel=1e-6)

    def test_nothing_to_rate_is_said(self):
        with pytest.raises(ValueError, match="nothing to rate"):
            fit(tally_totals([]))


class TestWhereVotesAloneGiveNoAnswer:
    def test_an_unbeaten_model_gets_a_finite_rating_and_says_so(self):
        """Half a win each way on 10 to 0: log-odds of 10.5 to 0.5."""
        fitted = fit_of(votes_between("x", "y", wins=10))
        assert fitted.difference(0, 1).value == pytest.approx(400 * math.log10(10.5 / 0.5), abs=1e-6)
        assert fitted.is_penalised.all()
        assert fitted.difference(0, 1).verdict == "better"

    def test_one_win_decides_nothing(self):
        assert fit_of(votes_between("x", "y", wins=1)).difference(0, 1).verdict == "undecided"

    def test_only_the_pair_that_needs_it_is_penalised(self):
        fitted = fit_of(votes_between("x", "y", wins=6, losses=4), votes_between("z", "x", wins=5))
        x, y, z = place(fitted, "x", "y", "z")
        assert fitted.difference(x, y).value == pytest.approx(400 * math.log10(6 / 4), abs=1e-6)
        assert fitted.is_penalised[[x, y, z]].tolist() == [True, False, True]

    def test_an_unbeaten_pair_in_a_circle_needs_nothing(self):
        fitted = fit_of(*[votes_between(a, b, wins=3) for a, b in ("xy", "yz", "zx")])
        assert fitted.rating == pytest.approx([1000] * 3)
        assert not fitted.is_penalised.any()

    def test_ties_alone_are_level_with_an_interval_that_shrinks(self):
        few, many = (fit_of(votes_between("x", "y", ties=n)) for n in (5, 50))
        assert few.rating == pytest.approx([1000, 1000])
        assert few.standard_error[0] == pytest.approx(10 * many.standard_error[0])
        assert few.difference(0, 1).upper > 50

    def test_models_that_no_votes_join_are_in_groups_and_never_compared(self):
        fitted = fit_of(
            votes_between("x", "y", wins=5, losses=3),
            votes_between("y", "z", wins=4, losses=4),
            votes_between("v", "w", wins=9, losses=1),
        )
        x, v, w = place(fitted, "x", "v", "w")
        assert fitted.group[x] == 0
        assert fitted.group[v] == fitted.group[w] == 1
        assert fitted.difference(x, v) is None
        assert fitted.more_votes(x, v) is None
        assert fitted.difference(v, w).value == pytest.approx(400 * math.log10(9), abs=1e-6)
        assert fitted.ranks()[x].tolist() == [1, 3]


class TestRanks:
    def test_a_decided_difference_gives_single_ranks(self):
        fitted = fit_of(votes_between("x", "y", wins=80, losses=20))
        assert fitted.ranks().tolist() == [[1, 1], [2, 2]]

    def test_an_undecided_difference_shares_ranks(self):
        fitted = fit_of(votes_between("x", "y", wins=11, losses=9), votes_between("y", "z", wins=95, losses=5))
        assert fitted.ranks()[place(fitted, "x", "y", "z")].tolist() == [[1, 2], [1, 2], [3, 3]]

    def test_more_votes_settle_an_undecided_difference(self):
        """Repeating the votes at the same shares, just as many as it says, brings the interval's end to zero."""
        before = fit_of(votes_between("x", "y", wins=24, losses=20, ties=6))
        more = before.more_votes(0, 1)
        scale = (50 + more) / 50
        after = fit_of(
            [("x", "y", "model_a", 24 * scale), ("x", "y", "model_b", 20 * scale), ("x", "y", "tie", 6 * scale)]
        )
        assert before.difference(0, 1).verdict == "undecided"
        assert abs(after.difference(0, 1).lower) < 1

    def test_no_more_votes_are_needed_once_decided(self):
        assert fit_of(votes_between("x", "y", wins=80, losses=20)).more_votes(0, 1) == 0

    def test_no_number_of_votes_settles_a_level_pair(self):
        assert fit_of(votes_between("x", "y", wins=7, losses=7)).more_votes(0, 1) is None


class TestIntervals:
    @pytest.mark.slow
    def test_95_percent_intervals_hold_the_truth_95_percent_of_the_time(self):
        """400 leaderboards of 4 models and 300 votes: 1200 intervals of differences to the first model."""
        random = np.random.default_rng(11)
        truth = np.array([0.5, 0.2, 0.0, -0.7])
        held = total = 0
        for _ in range(400):
            fitted = fit(simulate(truth, 300, 0.0, random))
            for other in (1, 2, 3):
                difference = fitted.difference(0, other)
                held += difference.lower <= SCALE * (truth[0] - truth[other]) <= difference.upper
                total += 1
        assert 0.93 <= held / total <= 0.97

    def test_the_bootstrap_agrees_with_the_sandwich(self):
        fitted = fit(simulate(np.array([0.5, 0.0, -0.5]), 1500, 0.2, np.random.default_rng(5)))
        draws = bootstrap(fitted, draws=400, seed=1)
        assert draws.std(axis=0) == pytest.approx(fitted.standard_error, rel=0.12)

    def test_the_bootstrap_repeats_itself_for_its_seed(self):
        fitted = fit(simulate(np.array([0.5, 0.0, -0.5]), 100, 0.2, np.random.default_rng(5)))
        assert np.array_equal(bootstrap(fitted, 5, seed=1), bootstrap(fitted, 5, seed=1))
        assert not np.array_equal(bootstrap(fitted, 5, seed=1), bootstrap(fitted, 5, seed=2))

    def test_a_draw_that_falls_apart_is_not_a_rating(self):
        fitted = fit_of(votes_between("x", "y", wins=1), votes_between("y", "z", losses=1))
        draws = bootstrap(fitted, draws=40, seed=0)
        apart = np.isnan(draws).all(axis=1)
        assert 0 < apart.sum() < 40
        assert np.isfinite(draws[~apart]).all()
