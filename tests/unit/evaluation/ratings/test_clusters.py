"""Intervals by voters: against their definition, by simulated voters with tastes of their own, and their refusals."""

import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t as student

from common.distributions import student95
from evaluation.ratings import Tally, bootstrap, tally_indices
from evaluation.ratings.bootstrap import intervals, refit
from evaluation.ratings.bradley_terry import CENTRE, SCALE, Z95, fit
from evaluation.ratings.voter_clusters import (
    FEW,
    bootstrap_voters,
    by_voters,
    cluster_covariance,
    score_voters,
    whole_voters,
)

STRENGTHS = np.array([0.5, 0.2, -0.1, -0.6])


def arena(random, voters=60, votes=900, taste=0.7, zeal=0.5, ties=0.2):
    """(voter, a, b, said, count): each voter has strengths of their own around STRENGTHS, and their own zeal."""
    size = len(STRENGTHS)
    own = STRENGTHS + random.normal(0, taste, (voters, size))
    share = random.lognormal(0, zeal, voters)
    voter = np.sort(random.choice(voters, votes, p=share / share.sum()))
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    wins = random.random(votes) < 1 / (1 + np.exp(own[voter, b] - own[voter, a]))
    label = np.where(random.random(votes) < ties, 2, np.where(wins, 0, 1))
    return voter, a, b, label, np.ones(votes)


def fit_block(block):
    size = int(max(block[1].max(), block[2].max())) + 1
    return fit(Tally(tuple(range(size)), tally_indices(*block[1:4], size, block[4])))


def cut(block, *places):
    """The block as several, cut at the places."""
    ends = [0, *places, len(block[0])]
    return [tuple(column[i:j] for column in block) for i, j in pairwise(ends)]


class TestSandwich:
    def test_it_is_the_sum_over_voters_of_their_summed_scores(self):
        """By the definition, voter by voter."""
        block = arena(np.random.default_rng(1))
        fitted = fit_block(block)
        voter, a, b, label, _ = block
        p = 1 / (1 + np.exp(fitted.log_odds[b] - fitted.log_odds[a]))
        scores = (np.eye(4)[a] - np.eye(4)[b]) * (np.array([1, 0, 0.5, 0.5])[label] - p)[:, None]
        summed = np.stack([scores[voter == one].sum(axis=0) for one in np.unique(voter)])
        design = (np.eye(4)[a] - np.eye(4)[b]) * np.sqrt(p * (1 - p))[:, None]
        inverse = np.linalg.pinv(design.T @ design)
        count = len(summed)
        expected = count / (count - 1) * SCALE**2 * inverse @ (summed.T @ summed) @ inverse
        assert cluster_covariance(fitted, [block]) == pytest.approx(expected, rel=1e-6)

    def test_where_blocks_are_cut_does_not_matter(self):
        block = arena(np.random.default_rng(2))
        fitted = fit_block(block)
        whole = cluster_covariance(fitted, [block])
        for places in ((1, 2, 3), (450,), tuple(range(10, 900, 10)), (0, 900)):
            assert cluster_covariance(fitted, cut(block, *places)) == pytest.approx(whole, rel=1e-9)

    def test_equal_votes_of_a_voter_may_come_as_one_row(self):
        block = arena(np.random.default_rng(3), voters=20)
        rows, count = np.unique(np.stack(block[:4], axis=1), axis=0, return_counts=True)
        fitted = fit_block(block)
        assert len(rows) < len(block[0])
        grouped = (*rows.T, count.astype(float))
        assert cluster_covariance(fitted, [grouped]) == pytest.approx(cluster_covariance(fitted, [block]), rel=1e-9)

    def test_one_vote_each_gives_the_sandwich_of_votes(self):
        block = (np.arange(900), *arena(np.random.default_rng(4))[1:])
        fitted = fit_block(block)
        assert cluster_covariance(fitted, [block]) == pytest.approx(900 / 899 * fitted.covariance, rel=1e-9)
        same, voters = by_voters(fitted, [block])
        assert same is fitted
        assert not voters.repeat

    def test_ten_times_the_same_vote_is_worth_one(self):
        """A voter who repeats each vote ten times makes the plain interval narrower, and this one not."""
        once = (np.arange(900), *arena(np.random.default_rng(5))[1:])
        tenfold = tuple(np.repeat(column, 10) for column in once)
        before, after = fit_block(once), fit_block(tenfold)
        assert after.standard_error == pytest.approx(before.standard_error / math.sqrt(10), rel=1e-6)
        clustered = np.sqrt(np.diagonal(cluster_covariance(after, [tenfold])))
        assert clustered == pytest.approx(np.sqrt(900 / 899) * before.standard_error, rel=1e-6)

    def test_models_that_no_votes_join_stay_apart(self):
        random = np.random.default_rng(6)
        left, right = arena(random, votes=300), arena(random, votes=300)
        both = (*(np.concatenate([x, y]) for x, y in zip(left, right, strict=True)),)
        both[1][300:] += 4
        both[2][300:] += 4
        order = np.argsort(both[0], kind="stable")
        block = tuple(column[order] for column in both)
        covariance = cluster_covariance(fit_block(block), [block])
        assert np.isnan(covariance[:4, 4:]).all()
        assert np.isfinite(covariance[:4, :4]).all()

    def test_an_unbeaten_model_has_an_interval_of_some_width(self):
        a = np.zeros(20, dtype=int)
        block = (np.repeat(np.arange(10), 2), a, a + 1, a, np.ones(20))
        fitted = fit_block(block)
        assert fitted.is_penalised.all()
        assert np.sqrt(cluster_covariance(fitted, [block])[0, 0]) > 50

    @pytest.mark.parametrize("votes, wins", [(3, 2), (5, 3), (10, 5), (20, 12)])
    def test_two_voters_who_agree_to_the_vote_decide_nothing(self, votes, wins):
        """Two with equal taste do so in a third of cases; that they differ in nothing shows no third one's vote."""
        label = np.tile(np.arange(votes) >= wins, 2).astype(int)
        a = np.zeros(2 * votes, dtype=int)
        block = (np.repeat([0, 1], votes), a, a + 1, label, np.ones(2 * votes))
        fitted, voters = by_voters(fit_block(block), [block])
        assert voters.effective == 2
        difference = fitted.difference(0, 1)
        assert difference.lower < 0 < difference.upper and difference.upper - difference.value > 50


class TestCoverage:
    @pytest.mark.slow
    def test_intervals_by_voters_cover_and_those_by_votes_do_not(self):
        """300 arenas of 60 voters with tastes of their own: 900 intervals of differences to the first model.

        What both fits aim at is the ratings of the whole population of voters, here of 20,000 of them.
        """
        random = np.random.default_rng(7)
        truth = self.population(random)
        plain = clustered = 0
        for _ in range(300):
            block = arena(random)
            by_votes = fit_block(block)
            voters, _ = by_voters(by_votes, [block])
            for other in (1, 2, 3):
                gap = truth.rating[0] - truth.rating[other]
                plain += self.covers(by_votes.difference(0, other), gap)
                clustered += self.covers(voters.difference(0, other), gap)
        assert 0.93 <= clustered / 900 <= 0.975
        assert plain / 900 < 0.88

    @classmethod
    def population(cls, random):
        own = STRENGTHS + random.normal(0, 0.7, (20_000, 4))
        share = np.stack([[cls.score(own, i, j) for j in range(4)] for i in range(4)])
        return fit(Tally((0, 1, 2, 3), np.stack([1e6 * share * (1 - np.eye(4))] + [np.zeros((4, 4))] * 3, axis=-1)))

    @staticmethod
    def score(own, i, j) -> float:
        """How often i beats j among voters of all tastes, a fifth of votes being ties, as half."""
        return float((0.8 / (1 + np.exp(own[:, j] - own[:, i])) + 0.1).mean())

    @staticmethod
    def covers(difference, truth) -> bool:
        return difference.lower <= truth <= difference.upper


class TestFewVoters:
    def test_students_quantile_is_scipys(self):
        for freedom in (1, 2, 3, 4, 7, 12, 49, 199, 200, 1000, 1e6):
            assert student95(freedom) == pytest.approx(student.ppf(0.975, freedom), rel=1e-8)
        assert student95(7.5) == pytest.approx(student.ppf(0.975, 7.5), rel=1e-3)
        assert student95(0.5) == math.inf

    def test_few_voters_are_said_and_reach_further(self):
        random = np.random.default_rng(8)
        few, many = arena(random, voters=12, zeal=0.0), arena(random, voters=400, zeal=0.0)
        by_few, voters = by_voters(fit_block(few), [few])
        assert voters.few and voters.voters == 12
        assert by_few.critical == student95(voters.effective - 1) > 2.2
        by_many, voters = by_voters(fit_block(many), [many])
        assert not voters.few
        assert Z95 < by_many.critical < 1.98

    def test_one_voter_with_most_votes_leaves_few_effective_ones(self):
        """90 of 189 votes by one voter, and 99 voters with one vote: as unsure as four voters with equally many."""
        voter = np.concatenate([np.zeros(90, dtype=int), np.arange(1, 100)])
        block = (voter, np.arange(189) % 2, 1 - np.arange(189) % 2, np.arange(189) % 3, np.ones(189))
        voters = score_voters(fit_block(block), [block])
        assert (voters.voters, voters.votes, voters.most) == (100, 189, 90)
        assert voters.effective == pytest.approx(189**2 / (90**2 + 99))
        assert voters.effective < FEW and voters.few

    def test_where_one_voter_gave_nearly_all_votes_nothing_is_decided(self):
        """The sandwich itself is tiny there: the ratings are that voter's, and their votes fit them."""
        block = arena(np.random.default_rng(24), voters=2)
        block = (np.sort(np.arange(900) > 880).astype(int), *block[1:])
        fitted, voters = by_voters(fit_block(block), [block])
        assert 1 < voters.effective < 1.1
        assert fitted.difference(0, 3).verdict == "undecided"
        assert fitted.ranks().tolist() == [[1, 4]] * 4
        assert fitted.more_votes(0, 3) is None

    @pytest.mark.slow
    def test_intervals_of_three_voters_hold_the_truth(self):
        """250 arenas of three voters, 750 differences; by votes, less than half are held."""
        random = np.random.default_rng(25)
        truth = TestCoverage.population(random)
        plain = clustered = 0
        for _ in range(250):
            block = arena(random, voters=3, votes=450, zeal=0.0)
            by_votes = fit_block(block)
            voters, _ = by_voters(by_votes, [block])
            for other in (1, 2, 3):
                gap = truth.rating[0] - truth.rating[other]
                plain += TestCoverage.covers(by_votes.difference(0, other), gap)
                clustered += TestCoverage.covers(voters.difference(0, other), gap)
        assert 0.925 <= clustered / 750 <= 0.985
        assert plain / 750 < 0.6

    def test_one_voter_alone_is_refused(self):
        block = arena(np.random.default_rng(9), voters=1)
        with pytest.raises(ValueError, match="two voters"):
            cluster_covariance(fit_block(block), [block])

    def test_of_one_voters_many_votes_the_intervals_have_no_end(self):
        block = arena(np.random.default_rng(9), voters=1)
        found, voters = by_voters(fit_block(block), [block])
        assert voters.voters == 1 and np.isinf([found.lower, found.upper]).all()
        assert found.difference(0, 1).verdict == "undecided"


class TestRefusals:
    def test_voters_that_do_not_ascend(self):
        block = arena(np.random.default_rng(10))
        first, second = cut(block, 450)
        with pytest.raises(ValueError, match="ascend"):
            cluster_covariance(fit_block(block), [second, first])

    def test_votes_that_are_not_those_of_the_fit(self):
        block = arena(np.random.default_rng(11))
        with pytest.raises(ValueError, match="900 votes and these are 899"):
            cluster_covariance(fit_block(block), cut(block, 899)[:1])

    @pytest.mark.parametrize(
        ("column", "value", "label"), [(1, 9, "a has an index"), (3, 4, "label has an index"), (2, None, "itself")]
    )
    def test_rows_that_are_no_votes(self, column, value, label):
        block = tuple(values.copy() for values in arena(np.random.default_rng(12)))
        fitted = fit_block(block)
        block[column][5] = block[1][5] if value is None else value
        with pytest.raises(ValueError, match=label):
            cluster_covariance(fitted, [block])

    def test_columns_of_unequal_length(self):
        block = arena(np.random.default_rng(13))
        with pytest.raises(ValueError, match="same length"):
            cluster_covariance(fit_block(block), [(*block[:4], block[4][:-1])])


class TestStreaming:
    def test_a_judge_of_a_million_votes_is_held_as_its_cells(self):
        """One voter over many blocks: what waits for the next block is one row per kind of vote."""
        block = arena(np.random.default_rng(14), voters=1, votes=1000)
        rows = list(whole_voters([block] * 50, 4))
        assert len(rows) == 1
        assert len(rows[0].a) <= 4 * 4 * 4
        assert rows[0].times.sum() == 50_000

    @pytest.mark.slow
    def test_ten_times_the_votes_take_no_more_memory(self):
        block = arena(np.random.default_rng(21), voters=200, votes=4000)

        def peak(repeats: int) -> int:
            fitted = fit(Tally(tuple(range(4)), repeats * tally_indices(*block[1:4], 4)))
            tracemalloc.start()
            for read in (by_voters, bootstrap_voters):
                read(fitted, ((block[0] + 200 * k, *block[1:]) for k in range(repeats)))
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return found

        peak(2)  # what is loaded once only
        assert peak(40) < 1.3 * peak(4)


class TestBootstrap:
    def test_voters_drawn_anew_agree_with_the_sandwich_by_voters(self):
        block = arena(np.random.default_rng(15), voters=150, votes=3000)
        fitted = fit_block(block)
        draws = bootstrap_voters(fitted, cut(block, 1000, 2000), draws=400, seed=1)
        clustered = np.sqrt(np.diagonal(cluster_covariance(fitted, [block])))
        assert draws.std(axis=0) == pytest.approx(clustered, rel=0.12)
        assert (clustered > 1.25 * fitted.standard_error).all()  # or the voters made no difference

    def test_voters_of_one_vote_agree_with_votes_drawn_anew(self):
        block = (np.arange(2000), *arena(np.random.default_rng(16), votes=2000)[1:])
        fitted = fit_block(block)
        by_voter, by_vote = bootstrap_voters(fitted, [block], 400), bootstrap(fitted, 400)
        assert by_voter.std(axis=0) == pytest.approx(by_vote.std(axis=0), rel=0.12)

    def test_the_same_seed_gives_the_same_draws(self):
        block = arena(np.random.default_rng(17))
        fitted = fit_block(block)
        one, same, other = (bootstrap_voters(fitted, [block], 5, seed) for seed in (1, 1, 2))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_many_draws_at_once_are_the_fits_of_each(self):
        random = np.random.default_rng(18)
        block = arena(random, votes=60)
        fitted = fit_block(block)
        for row in range(30):
            drawn = random.integers(0, 60, 60)
            tally = Tally(fitted.models, tally_indices(*(column[drawn] for column in block[1:4]), 4))
            alone = fit(tally)
            together = refit(fitted, (tally.wins + tally.ties / 2)[None])[0]
            if (alone.group == 0).all():
                assert together == pytest.approx(alone.rating, abs=1e-4), row
            else:
                assert np.isnan(together).all()

    def test_intervals_leave_out_draws_that_fell_apart_and_count_them(self):
        draws = np.random.default_rng(19).normal(CENTRE, 50, (1000, 3))
        draws[:100, 2] = np.nan
        found = intervals(draws)
        assert found.missing.tolist() == [0, 0, 100]
        assert found.lower[0] == pytest.approx(CENTRE - Z95 * 50, abs=8)
        assert found.upper[2] == pytest.approx(CENTRE + Z95 * 50, abs=8)
        assert found.difference_upper[0, 2] == pytest.approx(Z95 * 50 * math.sqrt(2), abs=12)
        assert found.difference_lower[0, 2] == pytest.approx(-found.difference_upper[2, 0])

    def test_percentiles_of_few_voters_reach_as_far_as_students_quantile(self):
        draws = np.random.default_rng(22).normal(CENTRE, 50, (20_000, 2))
        found = intervals(draws, effective=12)
        assert found.upper[0] - CENTRE == pytest.approx(student95(11) * math.sqrt(12 / 11) * 50, rel=0.05)
        assert found.lower[0] - CENTRE == pytest.approx(CENTRE - found.upper[0], rel=0.05)

    @pytest.mark.parametrize("voters", [1, 2])
    def test_one_voter_drawn_anew_is_no_interval(self, voters):
        """All draws of one voter's votes are the same: [1035, 1035] would look beyond doubt."""
        block = arena(np.random.default_rng(9), voters=1)
        if voters == 2:  # the other one gave a single vote
            block = tuple(np.append(column, column[-1] + (k == 0)) for k, column in enumerate(block))
        fitted = fit_block(block)
        found = intervals(bootstrap_voters(fitted, [block], 200), score_voters(fitted, [block]).effective)
        ends = (found.lower, found.upper, found.difference_lower.ravel(), found.difference_upper.ravel())
        assert np.isnan(np.concatenate(ends)).all() and found.draws == 200

    @pytest.mark.parametrize(("voters", "is_told"), [(5, False), (6, True)])
    def test_a_handful_of_voters_drawn_anew_is_no_interval(self, voters, is_told):
        found = intervals(np.random.default_rng(24).normal(CENTRE, 50, (200, 2)), effective=voters)
        assert np.isfinite([found.lower, found.upper]).all() == is_told

    def test_a_further_draw_lies_outside_as_often_as_is_said(self):
        """Of 39 draws, the 2.5 % point is the lowest one."""
        draws = np.random.default_rng(23).normal(CENTRE, 50, (39, 2))
        assert intervals(draws).lower == pytest.approx(draws.min(axis=0))
        assert intervals(draws).upper == pytest.approx(draws.max(axis=0))

    def test_no_interval_where_most_draws_fell_apart(self):
        draws = np.random.default_rng(20).normal(CENTRE, 50, (100, 2))
        draws[:60, 1] = np.nan
        found = intervals(draws)
        assert np.isnan([found.lower[1], found.upper[1], found.difference_lower[0, 1]]).all()
        assert np.isfinite(found.lower[0])
