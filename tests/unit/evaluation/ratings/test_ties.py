"""Models in which a tie is an outcome of its own: by hand, by simulation, and where votes give no answer."""

import math

import numpy as np
import pytest

from evaluation.ratings import Tally, tally_indices, tally_totals, tally_votes
from evaluation.ratings.bradley_terry import SCALE, fit
from evaluation.ratings.tie_models import better_tie_model, fit_ties
from evaluation.ratings.tie_probabilities import MODELS, davidson, rao_kupper

BOTH = pytest.mark.parametrize("model", sorted(MODELS))


def pair(wins: int, losses: int, ties: int) -> Tally:
    return tally_totals([("x", "y", "model_a", wins), ("x", "y", "model_b", losses), ("x", "y", "tie", ties)])


def simulate(model: str, random, votes: int, tie: float, first: float = 0.0, strengths=(0.8, 0.3, -0.2, -0.9)) -> Tally:
    """Votes of voters who follow the model; `first` is η in log-odds, `tie` the logarithm of ν or θ."""
    strengths, size = np.array(strengths), len(strengths)
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    chances = np.exp(MODELS[model](strengths[a] - strengths[b] + first, tie).log_chance)
    total = (random.random(votes)[:, None] > np.cumsum(chances, axis=1)[:, :2]).sum(axis=1)
    return Tally(tuple(range(size)), tally_indices(a, b, total, size))


class TestChances:
    def test_davidson_by_its_paper(self):
        """π₁, π₂ and ν√(π₁π₂), with π = 3 and 1, ν = ½."""
        parts = np.array([3, 1, 0.5 * math.sqrt(3)])
        found = np.exp(davidson(np.array(math.log(3)), math.log(0.5)).log_chance)
        assert found == pytest.approx(parts / parts.sum())

    def test_rao_kupper_by_its_paper(self):
        """π₁/(π₁+θπ₂), π₂/(θπ₁+π₂) and (θ²−1)π₁π₂/((π₁+θπ₂)(θπ₁+π₂)), with π = 3 and 1, θ = 2."""
        found = np.exp(rao_kupper(np.array(math.log(3)), math.log(2)).log_chance)
        assert found == pytest.approx([3 / 5, 1 / 7, 3 * 3 / (5 * 7)])

    @BOTH
    def test_derivatives_are_those_of_the_chances(self, model):
        terms, delta, tie, step = MODELS[model], np.linspace(-3, 3, 7), 0.4, 1e-5
        here = terms(delta, tie)
        up, down = terms(delta + step, tie), terms(delta - step, tie)
        more, less = terms(delta, tie + step), terms(delta, tie - step)
        for before, after, derivative in (
            (down.log_chance, up.log_chance, here.by_delta),
            (less.log_chance, more.log_chance, here.by_tie),
            (down.by_delta, up.by_delta, here.by_delta_twice),
            (less.by_delta, more.by_delta, here.by_both),
            (less.by_tie, more.by_tie, here.by_tie_twice),
        ):
            assert (after - before) / (2 * step) == pytest.approx(derivative, abs=1e-7)


class TestFit:
    def test_two_models_by_hand(self):
        """As many parameters as shares: the fit repeats them. Davidson's δ is the log-odds of wins to losses."""
        tie_fit = fit_ties(pair(30, 10, 20), "davidson")
        assert tie_fit.ratings.difference(0, 1).value == pytest.approx(SCALE * math.log(3), abs=1e-6)
        assert tie_fit.tie.value == pytest.approx(20 / math.sqrt(30 * 10))
        outcome = tie_fit.outcome(0, 1)
        assert (outcome.win, outcome.tie, outcome.loss) == pytest.approx((1 / 2, 1 / 3, 1 / 6))

    @BOTH
    def test_two_models_are_met_exactly_by_either(self, model):
        outcome = fit_ties(pair(30, 10, 20), model).outcome(0, 1)
        assert (outcome.win, outcome.tie, outcome.loss) == pytest.approx((1 / 2, 1 / 3, 1 / 6))

    @BOTH
    def test_the_truth_is_found(self, model):
        tally = simulate(model, np.random.default_rng(1), 40_000, tie=math.log(1.6), first=0.2)
        tie_fit = fit_ties(tally, model, first=True)
        strengths = np.array([0.8, 0.3, -0.2, -0.9])
        assert tie_fit.ratings.rating == pytest.approx(1000 + SCALE * (strengths - strengths.mean()), abs=8)
        assert tie_fit.tie.lower < 1.6 < tie_fit.tie.upper
        assert tie_fit.first.lower < SCALE * 0.2 < tie_fit.first.upper

    @BOTH
    def test_who_stood_first_does_not_matter_unless_it_is_asked(self, model):
        tally = simulate(model, np.random.default_rng(2), 500, tie=0.5)
        turned = Tally(tally.models, tally.cells.transpose(1, 0, 2)[:, :, [1, 0, 2, 3]])
        one, other = (fit_ties(votes, model) for votes in (tally, turned))
        assert one.ratings.rating == pytest.approx(other.ratings.rating, abs=1e-8)
        one, other = (fit_ties(votes, model, first=True) for votes in (tally, turned))
        assert one.first.value == pytest.approx(-other.first.value, abs=1e-6)
        assert one.ratings.rating == pytest.approx(other.ratings.rating, abs=1e-6)

    @BOTH
    def test_both_bad_is_a_tie(self, model):
        tied = tally_votes(["x"] * 6, ["y"] * 6, ["model_a", "model_a", "model_b", "tie", "tie", "tie"])
        bad = tally_votes(["x"] * 6, ["y"] * 6, ["model_a", "model_a", "model_b", "tie", "both_bad", "both_bad"])
        assert fit_ties(tied, model).tie == fit_ties(bad, model).tie

    def test_the_share_of_ties_between_equals(self):
        for model in MODELS:
            assert fit_ties(pair(40, 40, 20), model).level_ties.value == pytest.approx(0.2)

    def test_the_better_model_is_the_one_that_votes_follow(self):
        random = np.random.default_rng(3)
        strengths = (2.0, 0.7, -0.7, -2.0)  # the two differ where strengths do
        for model in MODELS:
            tally = simulate(model, random, 30_000, tie=math.log(2), strengths=strengths)
            better, worse = better_tie_model(tally)
            assert better.model == model
            assert better.aic < worse.aic

    def test_aic_counts_the_parameters(self):
        tally = pair(30, 10, 20)
        tie_fit = fit_ties(tally, "davidson")
        shares = 30 * math.log(1 / 2) + 10 * math.log(1 / 6) + 20 * math.log(1 / 3)
        assert tie_fit.aic == pytest.approx(2 * 2 - 2 * shares)  # a difference and ν
        assert fit_ties(simulate("davidson", np.random.default_rng(4), 300, 0.0), "davidson", True).parameters == 5

    def test_order_and_differences_are_like_those_with_half_a_win(self):
        """Where ties are as frequent in all pairs of like strength, the three ways agree about who is better."""
        tally = simulate("davidson", np.random.default_rng(5), 20_000, tie=0.0)
        half = fit(tally)
        for model in MODELS:
            assert np.argsort(fit_ties(tally, model).ratings.rating).tolist() == np.argsort(half.rating).tolist()


class TestIntervals:
    @pytest.mark.slow
    @BOTH
    def test_95_percent_intervals_hold_the_truth_95_percent_of_the_time(self, model):
        """300 arenas: 900 intervals of differences, 300 of the tie's parameter, 300 of the first place's worth."""
        random = np.random.default_rng(6)
        truth, tie, first = np.array([0.8, 0.3, -0.2, -0.9]), math.log(1.7), 0.15
        differences = ties = firsts = 0
        for _ in range(300):
            tie_fit = fit_ties(simulate(model, random, 400, tie, first), model, first=True)
            for other in (1, 2, 3):
                difference = tie_fit.ratings.difference(0, other)
                differences += difference.lower <= SCALE * (truth[0] - truth[other]) <= difference.upper
            ties += tie_fit.tie.lower <= 1.7 <= tie_fit.tie.upper
            firsts += tie_fit.first.lower <= SCALE * first <= tie_fit.first.upper
        assert 0.93 <= differences / 900 <= 0.97
        assert 0.915 <= ties / 300 <= 0.98
        assert 0.915 <= firsts / 300 <= 0.98

    def test_seven_votes_between_two_crowds_of_millions_are_met_exactly(self):
        """Only they join the two pairs: one win and five losses must be what the fit expects of them."""
        cells = np.zeros((4, 4, 4))
        cells[0, 1, :3], cells[1, 2, :3], cells[2, 3, :3] = (
            (1_110_829, 937_747, 147_610),
            (1, 5, 1),
            (695_456, 987_624, 513_106),
        )
        chances = fit_ties(Tally((0, 1, 2, 3), cells)).outcome(1, 2)
        assert 7 * (chances.win - chances.loss) == pytest.approx(-4, abs=1e-8)

    @BOTH
    @pytest.mark.parametrize("level", [(340, 0), (136, 892)])
    def test_few_wins_among_many_ties_are_fitted_too(self, model, level):
        """Newton's full steps had led to where all is flat, or past what a float can hold."""
        totals = [("x", "y", "model_a", 8), ("y", "z", "tie", level[0]), ("y", "w", "tie", level[1])]
        tie_fit = fit_ties(tally_totals(row for row in totals if row[3]), model)
        assert np.isfinite([tie_fit.ratings.rating, tie_fit.ratings.standard_error]).all()
        assert tie_fit.outcome(0, 1).win > tie_fit.outcome(0, 1).loss
        assert tie_fit.outcome(1, 2).tie == pytest.approx(1, abs=0.1)

    @BOTH
    def test_of_one_voters_votes_alone_intervals_have_no_end(self, model):
        a, b, label = np.array([0, 0, 1, 1, 0]), np.array([1, 1, 0, 0, 1]), np.array([0, 1, 2, 0, 3])
        tally = Tally((0, 1), tally_indices(a, b, label, 2))
        tie_fit = fit_ties(tally, model, blocks=[(np.full(5, 7), a, b, label, np.ones(5))])
        assert tie_fit.ratings.rating == pytest.approx(fit_ties(tally, model).ratings.rating)
        assert np.isinf([tie_fit.ratings.lower, tie_fit.ratings.upper]).all()
        assert tie_fit.level_ties.lower == 0 and tie_fit.level_ties.upper == 1


class TestWhereVotesGiveNoAnswer:
    @BOTH
    def test_no_ties_are_refused(self, model):
        with pytest.raises(ValueError, match="no vote is a tie"):
            fit_ties(pair(3, 2, 0), model)

    @BOTH
    def test_ties_alone_are_refused(self, model):
        with pytest.raises(ValueError, match="every vote is a tie"):
            fit_ties(pair(0, 0, 5), model)

    def test_an_unknown_model_is_named(self):
        with pytest.raises(ValueError, match="'glicko'"):
            fit_ties(pair(3, 2, 1), "glicko")

    def test_nothing_to_rate_is_said(self):
        with pytest.raises(ValueError, match="no vote"):
            fit_ties(tally_totals([]))

    @BOTH
    def test_a_model_that_wins_or_ties_and_never_loses_is_penalised(self, model):
        tie_fit = fit_ties(pair(10, 0, 5), model)
        assert tie_fit.ratings.is_penalised.all()
        assert np.isfinite(tie_fit.ratings.rating).all()
        assert tie_fit.ratings.rating[0] > 1000

    @BOTH
    def test_only_pairs_that_need_it_are_penalised(self, model):
        rows = [("x", "y", "model_a", 6), ("x", "y", "model_b", 4), ("x", "y", "tie", 3), ("z", "y", "tie", 5)]
        tie_fit = fit_ties(tally_totals(rows), model)
        assert dict(zip(tie_fit.ratings.models, tie_fit.ratings.is_penalised.tolist(), strict=True)) == {
            "x": False,
            "y": True,
            "z": True,
        }

    @BOTH
    def test_models_that_no_votes_join_share_only_the_ties(self, model):
        rows = [(a, b, label, n) for a, b in ("xy", "vw") for label, n in (("model_a", 6), ("model_b", 4), ("tie", 5))]
        tie_fit = fit_ties(tally_totals(rows), model)
        x, v = (tie_fit.ratings.models.index(name) for name in "xv")
        assert tie_fit.outcome(x, v) is None
        assert tie_fit.ratings.difference(x, v) is None
        alone = fit_ties(tally_totals(rows[:3]), model)
        assert tie_fit.tie.value == pytest.approx(alone.tie.value)
        assert tie_fit.ratings.difference(0, 1).value == pytest.approx(alone.ratings.difference(0, 1).value)

    @BOTH
    def test_a_place_that_always_wins_is_refused(self, model):
        rows = [("x", "y", "model_a", 6), ("y", "x", "model_a", 4), ("x", "y", "tie", 3)]
        with pytest.raises(ValueError, match="only one place"):
            fit_ties(tally_totals(rows), model, first=True)

    @BOTH
    def test_pairs_shown_in_one_order_only_cannot_tell_place_from_strength(self, model):
        with pytest.raises(ValueError, match="one order only"):
            fit_ties(pair(6, 4, 3), model, first=True)
