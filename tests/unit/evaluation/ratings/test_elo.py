"""The Elo ticker: by hand, in stretches, and how much the order of votes matters."""

import numpy as np
import pytest

from evaluation.ratings.elo import online, order_spread

START = np.full(3, 1000.0)


def votes(random, count=3000):
    a = random.integers(0, 3, count)
    b = (a + random.integers(1, 3, count)) % 3
    strength = np.array([0.6, 0.0, -0.6])
    return a, b, np.where(random.random(count) < 1 / (1 + np.exp(strength[b] - strength[a])), 0, 1)


def test_a_win_between_equals_moves_half_of_k():
    assert online([0], [1], [0], START).tolist() == [1002, 998, 1000]
    assert online([0], [1], [1], START, step=32).tolist() == [984, 1016, 1000]


def test_400_points_are_ten_to_one():
    """An expected win moves K/11, an upset ten times as much."""
    start = np.array([1400.0, 1000.0])
    assert online([0], [1], [0], start) == pytest.approx([1400 + 4 / 11, 1000 - 4 / 11])
    assert online([0], [1], [1], start) == pytest.approx([1400 - 40 / 11, 1000 + 40 / 11])


@pytest.mark.parametrize("label", [2, 3])
def test_ties_and_both_bad_draw_ratings_together(label):
    assert online([0], [1], [label], START).tolist() == [1000, 1000, 1000]
    high, low = online([0], [1], [label], np.array([1400.0, 1000.0]))
    assert high < 1400 and low > 1000


def test_points_are_neither_made_nor_lost():
    assert online(*votes(np.random.default_rng(1)), START).sum() == pytest.approx(3000)


def test_later_votes_go_on_from_where_the_ticker_stood():
    a, b, label = votes(np.random.default_rng(2))
    whole = online(a, b, label, START)
    middle = online(a[:1000], b[:1000], label[:1000], START)
    assert np.array_equal(online(a[1000:], b[1000:], label[1000:], middle), whole)


def test_no_votes_move_nothing():
    assert online([], [], [], START).tolist() == START.tolist()


def test_the_start_is_left_as_it_was():
    start = START.copy()
    online([0], [1], [0], start)
    assert start.tolist() == START.tolist()


def test_a_hopeless_gap_does_not_overflow():
    assert np.isfinite(online([0], [1], [0], np.array([-1e6, 1e6]))).all()


def test_order_matters_and_it_is_said_by_how_much():
    a, b, label = votes(np.random.default_rng(3))
    spread = order_spread(a, b, label, 3, orders=12, seed=1)
    assert spread.orders == 12
    assert (spread.deviation > 1).all()
    assert (spread.lowest < spread.mean).all() and (spread.mean < spread.highest).all()
    ticker = online(a, b, label, START)
    assert (np.abs(ticker - spread.mean) < 6 * spread.deviation).all()


def test_the_same_seed_gives_the_same_spread():
    a, b, label = votes(np.random.default_rng(4), 300)
    one, same, other = (order_spread(a, b, label, 3, 3, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.mean, same.mean)
    assert not np.array_equal(one.mean, other.mean)


@pytest.mark.parametrize(
    ("a", "b", "label", "match"),
    [
        ([0], [3], [0], "b has an index"),
        ([0], [1], [4], "label has an index"),
        ([1], [1], [0], "itself"),
        ([0, 1], [1], [0], "a vote needs all"),
    ],
)
def test_what_is_no_vote_is_refused(a, b, label, match):
    with pytest.raises(ValueError, match=match):
        online(a, b, label, START)


def test_a_step_or_start_that_is_no_number_is_refused():
    for start, step in ((START, 0), (START, float("nan")), (np.array([1000.0, np.nan]), 4)):
        with pytest.raises(ValueError, match="finite ratings"):
            online([0], [1], [0], start, step)


def test_one_order_shows_no_spread():
    with pytest.raises(ValueError, match="2 or more"):
        order_spread(np.array([0]), np.array([1]), np.array([0]), 2, orders=1)
