"""Ratings that follow single votes agree with a fit from the beginning, whatever the votes did to the groups."""

from __future__ import annotations

import time

import numpy as np
import pytest

from evaluation.ratings import Tally, tally_indices
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.incremental_fit import Live, begin, move, vote


def assert_as_fitted_anew(live: Live) -> None:
    anew = fit(live.tally)
    np.testing.assert_allclose(live.log_odds, anew.log_odds, atol=1e-8, rtol=0)
    np.testing.assert_array_equal(live.group, anew.group)
    largest = float(np.nanmax(anew.covariance))
    np.testing.assert_allclose(live.fit.covariance, anew.covariance, rtol=0, atol=1e-8 * largest)
    np.testing.assert_array_equal(live.fit.is_penalised, anew.is_penalised)


def random_votes(random: np.random.Generator, models: int, votes: int) -> Tally:
    a = random.integers(0, models, votes)
    b = (a + random.integers(1, models, votes)) % models
    choice = random.choice(4, votes, p=[0.5, 0.3, 0.1, 0.1])
    return Tally(tuple(range(models)), tally_indices(a, b, choice, models))


@pytest.mark.parametrize(("models", "votes"), [(2, 1), (4, 3), (6, 8), (9, 30), (12, 400)])
@pytest.mark.parametrize("seed", range(4))
def test_votes_and_undos_agree_with_a_fit_from_the_beginning(models, votes, seed):
    """With few votes the groups fall apart and grow together, and pairs need half wins and cease to need them."""
    random = np.random.default_rng(seed)
    live = begin(random_votes(random, models, votes))
    for _ in range(40):
        given = np.argwhere(live.tally.cells > 0)
        if random.random() < 0.5 and len(given) > 1:
            live = vote(live, *(int(i) for i in random.choice(given)), count=-1)
        else:
            a, shift, label = (int(i) for i in random.integers([0, 1, 0], [models, models, 4]))
            live = vote(live, a, (a + shift) % models, label)
        assert_as_fitted_anew(live)


def test_a_vote_and_its_undo_lead_back_to_the_same_ratings():
    before = begin(random_votes(np.random.default_rng(1), 20, 5000))
    after = vote(vote(before, 3, 7, 0), 3, 7, 0, count=-1)
    np.testing.assert_allclose(after.log_odds, before.log_odds, atol=1e-11, rtol=0)


def test_a_ban_of_many_votes_is_one_move():
    random = np.random.default_rng(2)
    kept, banned = random_votes(random, 8, 900), random_votes(random, 8, 300)
    live = begin(Tally(kept.models, kept.cells + banned.cells))
    assert_as_fitted_anew(move(live, kept.cells))


@pytest.mark.slow
def test_ten_thousand_steps_drift_no_further_than_one():
    random = np.random.default_rng(3)
    live = begin(random_votes(random, 10, 2000))
    for a, shift, label in random.integers([0, 1, 0], [10, 10, 4], (10_000, 3)).tolist():
        live = vote(live, a, (a + shift) % 10, label)
    np.testing.assert_allclose(live.log_odds, fit(live.tally).log_odds, atol=1e-8, rtol=0)
    assert live.tally.votes == 12_000


@pytest.mark.parametrize("many", [10, 10**4, 10**8])
def test_two_crowds_joined_by_one_vote_each_way_follow_votes_too(many):
    """The Hessian is nearly singular along their difference, and rounding is what ends the steps."""
    cells = np.zeros((6, 6, 4))
    for crowd in ((0, 1, 2), (3, 4, 5)):
        for a in crowd:
            for b in crowd:
                cells[a, b, 0] = (a != b) * many
    cells[0, 3, 0] = cells[0, 3, 1] = 1
    live = begin(Tally(tuple(range(6)), cells))
    for a, b, label in ((0, 3, 0), (1, 4, 2), (0, 3, 1), (0, 1, 0)):
        live = vote(live, a, b, label)
        np.testing.assert_allclose(live.log_odds, fit(live.tally).log_odds, atol=1e-6 if many > 10**6 else 1e-8, rtol=0)


def test_what_was_not_given_cannot_be_taken_back():
    live = begin(Tally(("x", "y"), tally_indices(np.array([0]), np.array([1]), np.array([0]), 2)))
    with pytest.raises(ValueError, match="0 were given"):
        vote(live, 0, 1, 2, count=-1)
    with pytest.raises(ValueError, match="between two models"):
        vote(live, 1, 1, 0)
    with pytest.raises(ValueError, match="nothing to rate"):
        begin(Tally((), np.zeros((0, 0, 4))))


def test_a_vote_among_a_hundred_models_costs_a_fraction_of_a_fit():
    """Of the same process in the same moment, so that a busy machine slows both."""
    live = begin(random_votes(np.random.default_rng(4), 100, 200_000))

    def seconds(work) -> float:
        best = np.inf
        for _ in range(5):
            begun = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - begun)
        return best

    assert seconds(lambda: vote(live, 3, 50, 0)) < seconds(lambda: fit(live.tally)) / 2
