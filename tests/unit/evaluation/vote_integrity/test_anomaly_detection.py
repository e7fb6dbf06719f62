"""Suspicious voters among simulated honest ones: who is flagged, why, and that the honest are left alone."""

import itertools
import math

import numpy as np
import pytest

from benchmarks.simulated_arenas import Arena, draw_arena, draw_labels
from evaluation.ratings import Tally
from evaluation.ratings.bradley_terry import fit
from evaluation.vote_integrity.anomaly_detection import detect_voters
from evaluation.vote_integrity.vote_wagers import HASTY_SHARE, TILTS, Honest

STRENGTHS = np.linspace(0.9, -0.9, 6)
STRICT = Honest(discernment=1.0, taste=0.0, lean=0.0)  # honest voters are exactly the crowd


def crowd(random: np.random.Generator, taste: float = 0.0, voters: int = 80) -> Arena:
    return draw_arena(STRENGTHS, random.integers(5, 60, voters), random, ties=0.4, taste=taste)


def one_voter(random: np.random.Generator, votes: int, say) -> Arena:
    """`say(chance, a, b)` gives the labels; chance is what the crowd thinks of A."""
    a = random.integers(0, 6, votes)
    b = (a + random.integers(1, 6, votes)) % 6
    chance = 1 / (1 + np.exp(STRENGTHS[b] - STRENGTHS[a]))
    return Arena(6, np.zeros(votes, int), a, b, say(chance, a, b))


def judged(arena: Arena, **options):
    return {one.voter: one for one in detect_voters(fit(arena.tally), [arena.block], **options)}


def last_of(random: np.random.Generator, votes: int, say, **options):
    arena = crowd(random).joined(one_voter(random, votes, say))
    return judged(arena, **options)[int(arena.voter.max())]


class TestTheWager:
    def test_it_cannot_gain_on_average_from_an_honest_voter_whatever_the_ties(self):
        """All outcomes of three votes with mean m, for several shares of ties: the average wealth is one."""
        for mean, ties in itertools.product((0.3, 0.5, 0.8), (0.0, 0.2, 0.4)):
            chance = {1.0: mean - ties / 2, 0.5: ties, 0.0: 1 - mean - ties / 2}
            total = 0.0
            for scores in itertools.product(chance, repeat=3):
                wealth = np.mean(
                    [
                        math.prod((1 - y + y * math.exp(t)) / (1 - mean + mean * math.exp(t)) for y in scores)
                        for t in TILTS
                    ]
                )
                total += math.prod(chance[y] for y in scores) * wealth
            assert total == pytest.approx(1)

    def test_the_opinion_of_others_leaves_the_voters_own_votes_out(self):
        """One voter alone put z above y; compared with herself she would look half right."""
        random = np.random.default_rng(0)
        others = crowd(random)
        arena = others.joined(one_voter(random, 300, lambda p, a, b: np.where(p > 0.5, 1, 0)))
        mine = judged(arena)[int(arena.voter.max())]
        alone = fit(others.tally)
        rows = arena.voter == arena.voter.max()
        chance = 1 / (1 + np.exp(np.abs(alone.log_odds[arena.a[rows]] - alone.log_odds[arena.b[rows]])))
        assert mine.strongest.kind == "against"
        assert mine.strongest.expected == pytest.approx(chance.sum(), rel=0.01)

    def test_a_small_voters_influence_to_first_order_is_that_of_a_refit(self):
        from evaluation.vote_integrity.anomaly_detection import _own_influence, _refit_without

        random = np.random.default_rng(1)
        arena = crowd(random)
        fitted = fit(arena.tally)
        shift = _own_influence(fitted, arena.voter, arena.a, arena.b, arena.label, np.ones(len(arena.a)), 80)
        for voter in (3, 40):
            mine = arena.voter == voter
            refit = _refit_without(fitted, arena.a[mine], arena.b[mine], arena.label[mine], np.ones(mine.sum()))
            assert fitted.log_odds - shift[voter] == pytest.approx(refit, abs=0.003)


class TestHonestVoters:
    def test_at_most_the_stated_share_is_flagged_with_ties_and_both_bads(self):
        """400 voters and a level of 5 %, nothing allowed beyond the crowd's own opinion."""
        flagged = 0
        for seed in range(5):
            found = judged(crowd(np.random.default_rng(seed)), alpha=0.05, honest=STRICT)
            flagged += sum(one.is_flagged for one in found.values())
        assert flagged / 400 <= 0.05

    def test_people_with_tastes_of_their_own_are_left_alone(self):
        flagged = 0
        for seed in range(5):
            flagged += sum(one.is_flagged for one in judged(crowd(np.random.default_rng(seed), taste=0.5)).values())
        assert flagged / 400 <= 0.01

    def test_one_who_never_ties_is_left_alone(self):
        random = np.random.default_rng(2)
        found = last_of(random, 200, lambda p, a, b: draw_labels(p, 0.0, random))
        assert not found.is_flagged


class TestWhoIsFlagged:
    @pytest.mark.parametrize(
        ("say", "kind", "words"),
        [
            (lambda p, a, b: np.zeros(len(p), int), "first", "shown first in 60 of 60 votes"),
            (lambda p, a, b: np.ones(len(p), int), "second", "shown second in 60 of 60 votes"),
            (lambda p, a, b: np.full(len(p), 3), "ties", "Gave 60 of 60 votes as tie or both bad"),
            (lambda p, a, b: np.where(p > 0.5, 1, 0), "against", "the lower-rated model in"),
        ],
    )
    def test_sixty_votes_give_a_bot_away_and_the_reason_says_how(self, say, kind, words):
        found = last_of(np.random.default_rng(3), 60, say)
        assert found.is_flagged
        assert found.strongest.kind == kind
        assert words in found.reason

    def test_votes_for_one_model_are_told_with_its_name(self):
        random = np.random.default_rng(4)

        def for_the_third(p, a, b):
            return np.where(a == 2, 0, np.where(b == 2, 1, draw_labels(p, 0.4, random)))

        found = last_of(random, 240, for_the_third, name=lambda model: f"model {model + 1}")
        assert found.is_flagged
        assert (found.strongest.kind, found.strongest.model, found.strongest.favours) == ("model", 2, True)
        assert found.reason.startswith("Chose model 3 in ")

    def test_votes_against_one_model_are_told_as_such(self):
        random = np.random.default_rng(5)

        def against_the_third(p, a, b):
            return np.where(a == 2, 1, np.where(b == 2, 0, draw_labels(p, 0.4, random)))

        found = last_of(random, 300, against_the_third)
        assert found.is_flagged
        assert not found.strongest.favours
        assert found.reason.startswith("Chose against 2 in ")

    def test_a_coin_is_found_out_where_honest_voters_are_the_crowd(self):
        random = np.random.default_rng(6)
        found = last_of(random, 400, lambda p, a, b: random.integers(0, 2, len(p)), honest=STRICT)
        assert found.is_flagged
        assert found.strongest.kind == "against"

    def test_a_flood_of_votes_is_told_by_its_pace(self):
        random = np.random.default_rng(7)
        arena = crowd(random)
        found = judged(arena, pace={5: (59, 59), 6: (3, 50)})
        assert found[5].is_flagged
        assert "59 of 59 votes came within 3 seconds" in found[5].reason
        assert not found[6].is_flagged

    def test_few_votes_flag_nobody(self):
        found = last_of(np.random.default_rng(8), 5, lambda p, a, b: np.zeros(len(p), int))
        assert not found.is_flagged

    def test_the_most_suspicious_comes_first(self):
        random = np.random.default_rng(9)
        arena = crowd(random).joined(one_voter(random, 50, lambda p, a, b: np.zeros(len(p), int)))
        listed = detect_voters(fit(arena.tally), [arena.block])
        assert listed[0].voter == arena.voter.max()
        assert [one.log_e for one in listed] == sorted((one.log_e for one in listed), reverse=True)


class TestWhereNobodyElseSpeaks:
    def test_a_lone_voter_is_compared_with_nobody(self):
        arena = one_voter(np.random.default_rng(10), 100, lambda p, a, b: np.zeros(len(p), int))
        found = judged(arena)[0]
        assert found.votes == 100
        assert found.strongest.votes == 0
        assert not found.is_flagged
        assert "no votes to compare" in found.reason

    def test_votes_on_a_model_only_this_voter_met_do_not_count(self):
        random = np.random.default_rng(11)
        arena = crowd(random)
        mine = one_voter(random, 40, lambda p, a, b: np.zeros(len(p), int))
        mine = Arena(7, mine.voter, np.full(40, 6), np.zeros(40, int), mine.label)
        wide = Arena(7, arena.voter, arena.a, arena.b, arena.label).joined(mine)
        found = judged(wide)[int(wide.voter.max())]
        assert found.strongest.votes == 0
        assert not found.is_flagged


class TestBadInput:
    def test_other_votes_than_the_fits_are_refused(self):
        arena = crowd(np.random.default_rng(12))
        fitted = fit(Tally(tuple(range(6)), arena.tally.cells * 2))
        with pytest.raises(ValueError, match="same votes"):
            detect_voters(fitted, [arena.block])

    def test_a_level_that_is_no_share_is_refused(self):
        arena = crowd(np.random.default_rng(12))
        with pytest.raises(ValueError, match="alpha"):
            detect_voters(fit(arena.tally), [arena.block], alpha=5)


def test_the_pace_allows_honest_haste():
    random = np.random.default_rng(13)
    arena = crowd(random)
    hasty = {voter: (int(random.binomial(60, HASTY_SHARE)), 60) for voter in range(80)}
    assert sum(one.is_flagged for one in judged(arena, pace=hasty).values()) <= 1
