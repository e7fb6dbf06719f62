"""What a vote would teach, against refits with that vote; and where the next battles go."""

import itertools

import numpy as np
import pytest

from evaluation.ratings import Tally, tally_indices, tally_totals
from evaluation.ratings.bradley_terry import SCALE, fit
from evaluation.ratings.information_gain import FLOOR, gains, pair_probabilities, weigh_pairs, weigh_top


def simulate(strengths: np.ndarray, votes: int, random: np.random.Generator, ties: float = 0.2) -> Tally:
    size = len(strengths)
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    wins = random.random(votes) < 1 / (1 + np.exp(strengths[b] - strengths[a]))
    label = np.where(random.random(votes) < ties, 2, np.where(wins, 0, 1))
    return Tally(tuple(range(size)), tally_indices(a, b, label, size))


def board(*totals):
    return fit(tally_totals(totals))


class TestGains:
    def test_it_is_the_fall_in_variance_that_a_few_more_battles_bring(self):
        """Ten battles at the pair's own shares, refitted, against ten times the gain; ties none, so that g = h."""
        tally = simulate(np.array([0.4, 0.1, -0.1, -0.4]), 6000, np.random.default_rng(1), ties=0.0)
        fitted = fit(tally)
        expected = gains(fitted, weigh_pairs(fitted.models, [(0, 1, 1.0)]))
        for i, j in ((0, 1), (0, 2), (2, 3)):
            p = 1 / (1 + np.exp(-(fitted.rating[i] - fitted.rating[j]) / SCALE))
            cells = tally.cells.copy()
            cells[i, j, :2] += 10 * p, 10 * (1 - p)
            after = fit(Tally(tally.models, cells))
            variance = [c[0, 0] + c[1, 1] - 2 * c[0, 1] for c in (fitted.covariance, after.covariance)]
            assert variance[0] - variance[1] == pytest.approx(10 * expected[i, j], rel=0.1, abs=1e-3)

    def test_a_direct_battle_teaches_more_than_one_through_others(self):
        fitted = fit(simulate(np.zeros(5), 1000, np.random.default_rng(2)))
        gain = gains(fitted, weigh_pairs(fitted.models, [(0, 1, 1.0)]))
        assert gain[0, 1] == pytest.approx(gain.max(), rel=1e-12)
        assert gain[2, 3] < gain[0, 2] < gain[0, 1]

    def test_what_is_not_joined_has_no_gain_to_tell(self):
        gain = gains(board(("x", "y", "tie", 3), ("v", "w", "tie", 3)), np.ones((4, 4)))
        assert np.isnan(gain[0, 2])
        assert gain[0, 1] > 0


class TestProbabilities:
    @pytest.fixture
    def fitted(self):
        return fit(simulate(np.array([0.9, 0.5, 0.2, 0.0, -0.6]), 800, np.random.default_rng(3)))

    def test_they_sum_to_one_are_the_same_either_way_round_and_never_pair_a_model_with_itself(self, fitted):
        chance = pair_probabilities(fitted, fitted.models)
        assert chance.sum() == pytest.approx(1)
        assert chance == pytest.approx(chance.T)
        assert not np.diagonal(chance).any()

    def test_every_pair_keeps_its_share_of_the_floor(self, fitted):
        chance = pair_probabilities(fitted, fitted.models, weigh_pairs(fitted.models, [(0, 1, 1.0)]), floor=0.2)
        apart = ~np.eye(5, dtype=bool)
        assert chance[apart].min() >= 0.2 / 20
        assert chance[0, 1] == pytest.approx(chance.max())

    def test_without_votes_all_pairs_are_alike(self):
        assert pair_probabilities(None, ["x", "y", "z"])[0, 1] == pytest.approx(1 / 6)

    def test_a_model_without_votes_comes_first(self, fitted):
        models = [*fitted.models, "new"]
        chance = pair_probabilities(
            fitted, models, weigh_pairs(models, [("new", 0, 1.0), ("new", 2, 1.0), (0, 1, 1.0)])
        )
        assert 2 * chance[5].sum() > 0.8

    def test_a_model_without_votes_comes_first_even_when_only_others_matter(self, fitted):
        models = [*fitted.models, "new"]
        chance = pair_probabilities(fitted, models, weigh_pairs(models, [(0, 1, 1.0)]))
        assert 2 * chance[5].sum() > 0.5

    def test_parts_of_the_board_get_joined(self):
        fitted = board(*[(a, b, "tie", 50) for a, b in ("xy", "yz", "vw")])
        chance = pair_probabilities(fitted, fitted.models)
        assert 2 * chance[np.ix_([0, 1, 2], [3, 4])].sum() > 0.8

    def test_a_model_the_fit_knows_but_that_cannot_be_drawn_is_left_out(self, fitted):
        assert pair_probabilities(fitted, [4, 0, 2]).shape == (3, 3)

    def test_models_are_told_by_name_and_not_by_place(self, fitted):
        there = pair_probabilities(fitted, [0, 1, 2, 3, 4], weigh_pairs([0, 1, 2, 3, 4], [(0, 1, 1.0)]))
        back = pair_probabilities(fitted, [4, 3, 2, 1, 0], weigh_pairs([4, 3, 2, 1, 0], [(0, 1, 1.0)]))
        assert back[::-1, ::-1] == pytest.approx(there)

    def test_certain_battles_are_drawn_seldom_and_are_no_trouble(self):
        """Three links of ten million wins: a float takes the chance between the ends for 1."""
        certain = board(*((x, y, "model_a", 10_000_000) for x, y in itertools.pairwise("abcd")))
        drawn = pair_probabilities(certain, certain.models)
        assert drawn.sum() == pytest.approx(1)
        assert drawn[0, 3] == pytest.approx(FLOOR / 12, rel=1e-4)

    def test_nothing_that_matters_is_an_even_draw(self, fitted):
        assert pair_probabilities(fitted, fitted.models, np.zeros((5, 5)))[0, 1] == pytest.approx(1 / 20)

    def test_battles_so_drawn_tell_a_child_from_its_parent_sooner_than_even_ones(self):
        """300 battles after 300 even ones, the child and its parent mattering: half the variance or less."""
        truth, random = np.array([0.3, 0.2, 0.0, -0.1, -0.3, 0.1, -0.2, 0.25]), np.random.default_rng(4)
        error = {}
        for way in ("even", "taught"):
            tally = simulate(truth, 300, np.random.default_rng(5))
            for _ in range(60):
                fitted = fit(tally)
                matters = weigh_pairs(fitted.models, [(0, 1, 1.0)]) if way == "taught" else None
                chance = pair_probabilities(fitted, fitted.models, matters, floor=0.1 if way == "taught" else 1.0)
                cells = tally.cells.copy()
                for _ in range(5):
                    a, b = divmod(int(random.choice(64, p=chance.ravel())), 8)
                    cells[a, b, int(random.random() > 1 / (1 + np.exp(truth[b] - truth[a])))] += 1
                tally = Tally(tally.models, cells)
            last = fit(tally).difference(0, 1)
            error[way] = last.upper - last.value
        assert error["taught"] ** 2 < 0.5 * error["even"] ** 2

    @pytest.mark.parametrize(
        ("models", "matters", "floor", "label"),
        [
            (["x"], None, 0.1, "two models"),
            (["x", "y"], np.ones((3, 3)), 0.1, "shape"),
            (["x", "y"], -np.ones((2, 2)), 0.1, "weights"),
            (["x", "y"], None, 1.5, "floor"),
        ],
    )
    def test_bad_input_is_named(self, models, matters, floor, label):
        with pytest.raises(ValueError, match=label):
            pair_probabilities(None, models, matters, floor)


class TestWhatMatters:
    def test_weights_of_models_that_are_not_there_are_left_out(self):
        assert weigh_pairs(["x", "y"], [("x", "y", 2.0), ("x", "gone", 5.0)]).tolist() == [[0, 2], [2, 0]]

    def test_the_top_counts_where_it_is_not_decided(self):
        fitted = board(
            ("x", "y", "model_a", 55), ("y", "x", "model_a", 50), ("y", "z", "model_a", 95), ("z", "y", "model_a", 5)
        )  # fmt: skip
        weights = weigh_top(fitted, fitted.models, top=1)
        assert weights[0, 1] > 0.5 > 0.1 > weights[0, 2] > 0
        assert weights[1, 2] == 0
        assert not weigh_top(None, ["x", "y"], top=1).any()
