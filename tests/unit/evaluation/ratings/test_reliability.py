"""Voters weighted by reliability: coin tossers found and made little of, honest voters left alone."""

import math

import numpy as np
import pytest

from evaluation.ratings import Tally, tally_indices
from evaluation.ratings.bradley_terry import SCALE, fit
from evaluation.ratings.reliability import GRID, _passed, _solve, fit_reliability
from evaluation.ratings.voter_clusters import by_voters

STRENGTHS = np.linspace(-1, 1, 6)


def arena(random, coins, votes_each=70, ties=0.15):
    """(voter, a, b, said, count); `coins` (V,) is the share of each voter's votes that a coin decides."""
    size, voter = len(STRENGTHS), np.repeat(np.arange(len(coins)), votes_each)
    votes = len(voter)
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    chance = (1 - coins[voter]) / (1 + np.exp(STRENGTHS[b] - STRENGTHS[a])) + coins[voter] / 2
    label = np.where(random.random(votes) < ties, 2, np.where(random.random(votes) < chance, 0, 1))
    return voter, a, b, label, np.ones(votes)


def fit_block(block):
    return fit(Tally(tuple(range(len(STRENGTHS))), tally_indices(*block[1:4], len(STRENGTHS), block[4])))


def only(block, chosen):
    return tuple(column[chosen] for column in block)


COINS = np.where(np.arange(60) % 5 == 0, 1.0, 0.0)  # each fifth voter tosses a coin every time


class TestVoters:
    def test_coin_tossers_are_found(self):
        block = arena(np.random.default_rng(1), COINS, votes_each=150)
        reliability = fit_reliability(fit_block(block), [block])
        assert reliability.voters.coin[COINS == 1].mean() > 0.75
        assert reliability.voters.coin[COINS == 0].mean() < 0.2
        assert reliability.careless == pytest.approx(0.2, abs=0.1)

    def test_intervals_hold_the_share_of_coins(self):
        random = np.random.default_rng(2)
        coins = random.beta(2, 18, 200)
        block = arena(random, coins, votes_each=200)
        voters = fit_reliability(fit_block(block), [block]).voters
        assert ((voters.lower <= coins) & (coins <= voters.upper)).mean() == pytest.approx(0.95, abs=0.04)
        assert (voters.lower < voters.coin).all() and (voters.coin < voters.upper).all()

    def test_what_is_found_is_the_maximum_of_the_likelihood_and_bayes_rule(self):
        """Both written out vote by vote, on the same grid of coin shares."""
        block = arena(np.random.default_rng(3), COINS)
        fitted = fit_block(block)
        reliability = fit_reliability(fitted, [block])
        log_odds, _ = _solve(fitted, [block])

        def joint(ratings):
            """(voters, grid) log of prior times likelihood."""
            p = 1 / (1 + np.exp(ratings[block[2]] - ratings[block[1]]))[:, None]
            y = np.array([1, 0, 0.5, 0.5])[block[3]][:, None]
            log = y * np.log((1 - GRID) * p + GRID / 2) + (1 - y) * np.log((1 - GRID) * (1 - p) + GRID / 2)
            careful, careless = GRID * (1 - GRID) ** 17, GRID**7 * (1 - GRID)
            prior = (
                1 - reliability.careless
            ) * careful / careful.sum() + reliability.careless * careless / careless.sum()
            return np.log(prior) + np.stack([log[block[0] == voter].sum(axis=0) for voter in range(60)])

        def likelihood(ratings):
            return np.logaddexp.reduce(joint(ratings), axis=1).sum()

        for model in range(6):
            step = 0.02 * (np.arange(6) == model)
            assert likelihood(log_odds) > max(likelihood(log_odds + step), likelihood(log_odds - step))
        posterior = np.exp(joint(log_odds))
        assert reliability.voters.coin == pytest.approx(posterior @ GRID / posterior.sum(axis=1), abs=1e-6)

    @pytest.mark.slow
    def test_it_ends_where_it_would_end_after_any_number_of_passes(self):
        """Five hundred voters of three votes: single passes creep so slowly that they look still two points away."""
        block = arena(np.random.default_rng(0), np.zeros(500), votes_each=3)
        fitted = fit_block(block)
        log_odds, careless = _solve(fitted, [block])
        further = np.append(log_odds, math.log(careless / (1 - careless)))
        for _ in range(60):
            further = _passed(fitted, [block], further)
        assert SCALE * further[:-1] == pytest.approx(SCALE * log_odds, abs=0.1)
        assert 1 / (1 + math.exp(-further[-1])) == pytest.approx(careless, abs=0.001)

    def test_few_votes_say_little_of_a_voter(self):
        random = np.random.default_rng(4)
        many, few = arena(random, COINS), arena(random, np.zeros(10), votes_each=2)
        block = tuple(np.concatenate([x, y]) for x, y in zip(many, (few[0] + 60, *few[1:]), strict=True))
        voters = fit_reliability(fit_block(block), [block]).voters
        assert voters.voter.tolist() == list(range(70))
        assert voters.votes.tolist() == [70.0] * 60 + [2.0] * 10
        assert (voters.upper - voters.lower)[60:].min() > 0.5
        assert np.ptp(voters.coin[60:]) < 0.2

    def test_whoever_votes_the_wrong_way_round_counts_next_to_nothing(self):
        block = arena(np.random.default_rng(5), np.zeros(40), votes_each=100)
        wrong = (block[0] == 3) & (block[3] < 2)
        block[3][wrong] = 1 - block[3][wrong]
        weight = fit_reliability(fit_block(block), [block]).voters.weight
        assert weight[3] < 0.12
        assert np.delete(weight, 3).min() > 0.6


class TestRatings:
    def test_they_come_closer_to_those_of_the_sincere_voters(self):
        block = arena(np.random.default_rng(6), COINS, votes_each=150)
        fitted = fit_block(block)
        sincere = fit_block(only(block, COINS[block[0]] == 0)).rating
        weighted = fit_reliability(fitted, [block]).weighted.rating
        assert np.abs(weighted - sincere).max() < 0.35 * np.abs(fitted.rating - sincere).max()

    def test_among_honest_voters_they_hardly_move(self):
        block = arena(np.random.default_rng(7), np.zeros(60), votes_each=150)
        fitted = fit_block(block)
        reliability = fit_reliability(fitted, [block])
        assert np.abs(reliability.weighted.rating - fitted.rating).max() < 3
        assert reliability.careless < 0.05

    def test_one_vote_each_gives_nobody_much_more_weight(self):
        block = (np.arange(3000), *arena(np.random.default_rng(8), np.zeros(30), votes_each=100)[1:])
        fitted = fit_block(block)
        reliability = fit_reliability(fitted, [block])
        assert np.ptp(reliability.voters.weight) < 0.25
        assert np.abs(reliability.weighted.rating - fitted.rating).max() < 12

    def test_equal_weights_give_the_plain_intervals_by_voters(self):
        """With the votes of one voter given to all, everybody weighs the same."""
        one = arena(np.random.default_rng(9), np.zeros(1), votes_each=400)
        block = (np.repeat(np.arange(20), 400), *(np.tile(column, 20) for column in one[1:]))
        fitted = fit_block(block)
        reliability = fit_reliability(fitted, [block])
        assert np.ptp(reliability.voters.weight) < 1e-9
        assert reliability.weighted.rating == pytest.approx(fitted.rating, abs=1e-6)

    def test_their_intervals_go_by_voters(self):
        block = arena(np.random.default_rng(10), COINS)
        fitted = fit_block(block)
        weighted = fit_reliability(fitted, [block]).weighted
        plain, _ = by_voters(fitted, [block])
        assert weighted.standard_error == pytest.approx(plain.standard_error, rel=0.4)
        assert weighted.critical > 1.97

    @pytest.mark.thorough
    @pytest.mark.slow
    def test_95_percent_intervals_hold_the_ratings_of_sincere_voters(self):
        """Of honest voters: weighting by what their own votes say makes no interval too narrow."""
        random, held = np.random.default_rng(11), 0
        truth = SCALE * 0.85 * STRENGTHS  # ties, as half, pull ratings together by about their share
        aim = fit_block(arena(random, np.zeros(400), votes_each=1000)).rating
        assert aim - 1000 == pytest.approx(truth, abs=20)
        for _ in range(60):
            block = arena(random, np.zeros(50), votes_each=30)
            weighted = fit_reliability(fit_block(block), [block]).weighted
            for other in range(1, 6):
                difference = weighted.difference(0, other)
                held += difference.lower <= aim[0] - aim[other] <= difference.upper
        assert 0.9 <= held / 300 <= 0.985


class TestStreaming:
    @pytest.mark.slow
    def test_where_blocks_are_cut_does_not_matter(self):
        block = arena(np.random.default_rng(12), COINS, votes_each=20)
        fitted = fit_block(block)
        whole, pieces = (
            fit_reliability(fitted, blocks)
            for blocks in ([block], [only(block, slice(i, i + 33)) for i in range(0, 1200, 33)])
        )
        assert pieces.weighted.rating == pytest.approx(whole.weighted.rating, abs=1e-6)
        assert pieces.voters.coin == pytest.approx(whole.voters.coin, abs=1e-9)
        assert pieces.voters.voter.tolist() == whole.voters.voter.tolist()


class TestRefusals:
    def test_a_source_that_can_be_read_only_once(self):
        block = arena(np.random.default_rng(13), COINS)
        with pytest.raises(ValueError, match="several times"):
            fit_reliability(fit_block(block), iter([block]))

    def test_one_voter_alone(self):
        block = arena(np.random.default_rng(14), np.zeros(1))
        with pytest.raises(ValueError, match="two voters"):
            fit_reliability(fit_block(block), [block])

    def test_no_votes(self):
        block = arena(np.random.default_rng(15), COINS)
        with pytest.raises(ValueError, match="two voters"):
            fit_reliability(fit_block(block), [])
