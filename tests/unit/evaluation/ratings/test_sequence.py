"""Confidence sequences against the wager they stand for, played vote by vote, and against streams of votes."""

import itertools
import math

import numpy as np
import pytest

from evaluation.ratings import tally_totals
from evaluation.ratings.confidence_sequence import (
    confidence_sequence,
    log_e_above,
    lower_bound,
    mean_score,
    one_vote_each,
    pair_sequences,
    points,
)

TILTS = np.geomspace(0.004, 8.0, 18)


def wealth_of_gamblers(scores: list[float], mean: float, one_sided: bool = False) -> float:
    """Each gambler's purse, multiplied vote by vote, and their weighted mean."""
    weight = 1 / (TILTS / 0.25 + 0.25 / TILTS)
    bets = list(zip(TILTS, weight, strict=True))
    if not one_sided:
        bets += [(-tilt, share) for tilt, share in bets]
    tilt, weight = np.array(bets).T
    purse = np.ones(len(bets))
    for x in scores:
        with np.errstate(over="ignore"):
            purse *= (1 - x + x * np.exp(tilt)) / (1 - mean + mean * np.exp(tilt))
    return float((purse * weight).sum() / weight.sum())


def decided_streams(wins: np.ndarray, ties: np.ndarray, mean: float, alpha: float = 0.05) -> float:
    """The share of streams (streams, votes) of outcomes that are outside `mean` at any look."""
    looks = np.arange(1, wins.shape[1] + 1)
    w, t = wins.cumsum(axis=1), ties.cumsum(axis=1)
    sequence = confidence_sequence(w, t, looks - w - t, alpha)
    return float(((sequence.lower > mean) | (sequence.upper < mean)).any(axis=1).mean())


class TestTheWager:
    @pytest.mark.parametrize("counts", [(3, 2, 1), (0, 0, 4), (0, 5, 0), (6, 1, 0)])
    def test_the_e_value_is_the_wealth_of_gamblers_who_played_every_vote(self, counts):
        scores = [1.0] * counts[0] + [0.5] * counts[1] + [0.0] * counts[2]
        random = np.random.default_rng(0)
        random.shuffle(scores)
        assert confidence_sequence(*counts).e_value == pytest.approx(wealth_of_gamblers(scores, 0.5))
        assert log_e_above(*counts, mean_score(30)) == pytest.approx(
            math.log(wealth_of_gamblers(scores, mean_score(30), one_sided=True))
        )

    @pytest.mark.parametrize("mean", [0.2, 0.5, 0.85])
    @pytest.mark.parametrize("ties", [0.0, 0.3])
    def test_nobody_wins_on_average_when_the_mean_is_right(self, mean, ties):
        """All outcomes of four votes, weighted by their chance: the wealth averages to one."""
        chance = {1.0: mean - ties / 2, 0.5: ties, 0.0: 1 - mean - ties / 2}
        expected = sum(
            math.prod(chance[x] for x in scores) * wealth_of_gamblers(list(scores), mean)
            for scores in itertools.product(chance, repeat=4)
        )
        assert expected == pytest.approx(1)

    @pytest.mark.parametrize("counts", [(30, 12, 18), (5, 0, 0), (0, 40, 0), (200, 60, 3), (1, 0, 0)])
    def test_the_interval_is_every_mean_at_which_the_wealth_is_below_the_limit(self, counts):
        sequence = confidence_sequence(*counts)
        scores = [1.0] * counts[0] + [0.5] * counts[1] + [0.0] * counts[2]
        grid = np.linspace(0.005, 0.995, 100)
        inside = np.array([wealth_of_gamblers(scores, mean) < 20 for mean in grid])
        assert ((grid > sequence.lower) & (grid < sequence.upper) == inside).all()

    def test_the_other_side_sees_the_mirror_image(self):
        there, back = confidence_sequence(40, 10, 22), confidence_sequence(22, 10, 40)
        assert there.lower == pytest.approx(1 - back.upper, abs=1e-8)
        assert there.log_e == pytest.approx(back.log_e)


class TestManyLooks:
    @pytest.mark.slow
    @pytest.mark.parametrize(("mean", "ties"), [(0.5, 0.0), (0.5, 0.4), (0.7, 0.2)])
    def test_few_streams_ever_exclude_the_truth(self, mean, ties):
        """200 streams of 200 votes, looked at after every vote: a fixed interval would fail in about a third."""
        random = np.random.default_rng(4)
        drawn = random.random((200, 200))
        wins, level = drawn < mean - ties / 2, drawn > 1 - ties
        assert decided_streams(wins, level, mean) <= 0.05

    @pytest.mark.slow
    def test_ties_that_come_and_go_change_nothing(self):
        """The share of ties may depend on what was voted before, as long as the mean does not."""
        random = np.random.default_rng(5)
        share = np.where(np.arange(200) % 100 < 50, 0.0, 0.9)
        drawn = random.random((200, 200))
        assert decided_streams(drawn < 0.5 - share / 2, drawn > 1 - share, 0.5) <= 0.05

    @pytest.mark.slow
    def test_a_better_model_is_found_out(self):
        random = np.random.default_rng(6)
        drawn = random.random((50, 600))
        assert decided_streams(drawn < 0.55, drawn > 0.8, 0.5) == 1.0


class TestWhatItSays:
    def test_no_votes_say_nothing(self):
        sequence = confidence_sequence(0, 0, 0)
        assert (sequence.lower, sequence.upper, sequence.e_value) == (0, 1, 1)
        assert (sequence.rating_lower, sequence.rating_upper) == (-math.inf, math.inf)
        assert sequence.more == math.inf

    def test_an_unbeaten_model_has_a_lower_end_and_no_upper_one(self):
        sequence = confidence_sequence(20, 0, 0)
        assert sequence.is_decided
        assert sequence.rating_lower > 100
        assert sequence.rating_upper == math.inf

    def test_the_ends_in_rating_points_are_the_log_odds_of_the_mean(self):
        sequence = confidence_sequence(60, 10, 30)
        assert sequence.rating_lower == pytest.approx(400 * math.log10(sequence.lower / (1 - sequence.lower)))

    def test_decided_is_when_the_interval_leaves_a_half(self):
        wins = np.arange(50, 90)
        sequence = confidence_sequence(wins, 0, 140 - wins)
        outside = (sequence.lower > 0.5) | (sequence.upper < 0.5)
        assert (sequence.is_decided == outside).all()
        assert 0 < outside.sum() < len(wins)

    def test_every_pair_of_a_tally_is_read_from_the_row_against_the_column(self):
        tally = tally_totals([("x", "y", "model_a", 60), ("y", "x", "model_a", 20), ("y", "z", "both_bad", 5)])
        pairs, single = pair_sequences(tally), confidence_sequence(60, 0, 20)
        assert pairs.lower[0, 1] == pytest.approx(single.lower)
        assert pairs.upper[1, 0] == pytest.approx(1 - single.lower)
        assert pairs.is_decided.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
        assert pairs.more_votes(1, 2) is None

    def test_hundred_models_have_the_same_numbers_as_their_pairs_alone(self):
        random = np.random.default_rng(0)
        counts = random.integers(0, 3000, (3, 200))
        together = confidence_sequence(*counts)
        alone = [confidence_sequence(*counts[:, k]) for k in range(200)]
        assert together.lower == pytest.approx([float(one.lower) for one in alone], abs=1e-8)
        assert together.more.tolist() == [float(one.more) for one in alone]

    @pytest.mark.parametrize(("counts", "name"), [((-1, 0, 0), "wins"), ((1, np.nan, 0), "ties")])
    def test_a_bad_count_is_named(self, counts, name):
        with pytest.raises(ValueError, match=name):
            confidence_sequence(*counts)

    @pytest.mark.parametrize("alpha", [0, 1, 5])
    def test_a_level_that_is_no_probability_is_refused(self, alpha):
        with pytest.raises(ValueError, match="alpha"):
            confidence_sequence(1, 1, 1, alpha)


class TestMoreVotes:
    @pytest.mark.parametrize("counts", [(24, 6, 20), (300, 150, 280), (3, 0, 2)])
    def test_just_so_many_more_decide_it_at_the_same_shares(self, counts):
        more = int(confidence_sequence(*counts).more)
        now = sum(counts)
        enough, short = ((now + more + late) / now for late in (0, -1))
        assert confidence_sequence(*(n * enough for n in counts)).is_decided
        assert not confidence_sequence(*(n * short for n in counts)).is_decided

    def test_none_are_needed_once_decided_and_no_number_settles_a_level_pair(self):
        tally = tally_totals([("x", "y", "model_a", 60), ("y", "z", "model_a", 7), ("z", "y", "model_a", 7)])
        pairs = pair_sequences(tally)
        assert pairs.more_votes(0, 1) == 0
        assert pairs.more_votes(1, 2) is None


class TestOneSided:
    def test_better_is_decided_just_when_the_lower_bound_passes_the_margin(self):
        wins = np.arange(80, 160)
        decided = log_e_above(wins, 20, 180 - wins, mean_score(25)) >= math.log(20)
        assert (decided == (points(lower_bound(wins, 20, 180 - wins)) > 25)).all()
        assert 0 < decided.sum() < len(wins)

    def test_one_side_is_sooner_than_two(self):
        assert lower_bound(60, 10, 40) > confidence_sequence(60, 10, 40).lower

    def test_a_worse_child_is_rarely_called_better(self):
        random = np.random.default_rng(8)
        drawn = random.random((300, 400))
        wins, ties = (drawn < 0.4).cumsum(axis=1), (drawn > 0.8).cumsum(axis=1)
        log_e = log_e_above(wins, ties, np.arange(1, 401) - wins - ties, 0.5)
        assert (log_e >= math.log(20)).any(axis=1).mean() <= 0.05


class TestRepeatedVoters:
    def test_a_voters_first_vote_on_a_pair_stays_whichever_way_it_was_shown(self):
        voter, a, b = np.array([7, 7, 7, 8, 7]), np.array([0, 1, 0, 0, 0]), np.array([1, 0, 2, 1, 1])
        assert one_vote_each(voter, a, b).tolist() == [True, False, True, True, False]

    @pytest.mark.slow
    def test_a_few_people_with_tastes_of_their_own_do_not_decide_an_even_pair(self):
        """Ten voters, half for either model and sure of it, 60 votes each: their votes are 600, their minds are ten."""
        random = np.random.default_rng(9)
        failed = {False: 0, True: 0}
        for _ in range(100):
            taste = random.random(10) < 0.5
            voter = random.integers(0, 10, 600)
            wins = random.random(600) < np.where(taste[voter], 0.9, 0.1)
            first = one_vote_each(voter, np.zeros(600, int), np.ones(600, int))
            for once in failed:
                kept = wins[first] if once else wins
                failed[once] += decided_streams(kept[None], np.zeros((1, len(kept)), bool), 0.5) > 0
        assert failed[True] <= 5 < 30 < failed[False]
