"""The smallest removal that changes the first place: against trying every removal, and against the refit without it."""

import itertools

import numpy as np
import pytest

from evaluation.ratings import LABELS, Fit, Tally, tally_indices, tally_totals
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.fragility import Fragility, fewest_voters, fewest_votes


def simulate(strengths: np.ndarray, votes: int, random: np.random.Generator):
    size = len(strengths)
    a = random.integers(0, size, votes)
    b = (a + random.integers(1, size, votes)) % size
    wins = random.random(votes) < 1 / (1 + np.exp(strengths[b] - strengths[a]))
    return a, b, np.where(random.random(votes) < 0.2, 2, np.where(wins, 0, 1))


def tally_of(a, b, label, size: int) -> Tally:
    return Tally(tuple(range(size)), tally_indices(a, b, label, size))


def first_of(fitted: Fit) -> int:
    return int(np.where(fitted.group == 0, fitted.rating, -np.inf).argmax())


def without(tally: Tally, found: Fragility) -> Tally:
    """The board's votes less those named, taken from whichever side and label they are on."""
    cells = tally.cells.copy()
    for gone in found.removals:
        left = gone.votes
        places = (
            [(gone.model, gone.other, 0), (gone.other, gone.model, 1)]
            if gone.outcome == "won"
            else [(x, y, k) for x, y in ((gone.model, gone.other), (gone.other, gone.model)) for k in (2, 3)]
        )
        for place in places:
            take = min(left, cells[place])
            cells[place] -= take
            left -= take
        assert left == 0, "more votes are named than there are"
    return Tally(tally.models, cells)


def changes_by(tally: Tally, size: int) -> bool:
    """Does any removal of `size` votes put another model, still compared with it, above the first?"""
    first = first_of(fit(tally))
    places = list(zip(*np.nonzero(tally.cells), strict=True))
    for gone in itertools.combinations_with_replacement(places, size):
        cells = tally.cells.copy()
        for place in gone:
            cells[place] -= 1
        if (cells >= 0).all():
            left = fit(Tally(tally.models, cells))
            same = left.group == left.group[first]
            if (left.rating[same] > left.rating[first] + 1e-6).any():
                return True
    return False


class TestFewestVotes:
    def test_of_two_models_it_is_the_lead_and_one_more(self):
        fragility = fewest_votes(fit(tally_totals([("x", "y", "model_a", 30), ("x", "y", "model_b", 10)])))
        assert (fragility.votes, fragility.of, fragility.first, fragility.new_first) == (21, 40, 0, 1)
        assert [(gone.model, gone.other, gone.outcome, gone.votes) for gone in fragility.removals] == [
            (0, 1, "won", 21)
        ]
        assert fragility.is_minimal
        assert fragility.share == 21 / 40

    def test_a_tie_for_a_model_that_should_win_holds_it_back_and_is_never_taken(self):
        fragility = fewest_votes(
            fit(tally_totals([("x", "y", "model_a", 12), ("y", "x", "model_a", 8), ("x", "y", "tie", 30)]))
        )
        assert [gone.outcome for gone in fragility.removals] == ["won"]
        assert fragility.votes == 5

    def test_without_what_it_names_the_places_do_change_and_with_one_of_them_kept_they_do_not(self):
        random = np.random.default_rng(1)
        for size, votes in ((5, 400), (12, 3000)):
            tally = tally_of(*simulate(random.normal(0, 0.6, size), votes, random), size)
            fitted = fit(tally)
            fragility = fewest_votes(fitted)
            assert fragility.first == first_of(fitted)
            assert sum(gone.votes for gone in fragility.removals) == fragility.votes
            left = without(tally, fragility)
            assert first_of(fit(left)) == fragility.new_first != fragility.first
            kept = left.cells.copy()
            last = fragility.removals[-1]
            kept[(last.model, last.other, 0 if last.outcome == "won" else 2)] += 1
            assert first_of(fit(Tally(tally.models, kept))) == fragility.first

    def test_it_finds_what_trying_every_removal_finds(self):
        """Thirty small boards: where it says n ≤ 3, no n − 1 votes do it, and a claim of one is called proven."""
        random = np.random.default_rng(2)
        tried = 0
        for _ in range(30):
            tally = tally_of(*simulate(random.normal(0, 0.6, 3), int(random.integers(9, 24)), random), 3)
            fragility = fewest_votes(fit(tally))
            if fragility is None or fragility.votes > 3:
                continue
            tried += 1
            assert fragility.is_minimal == (fragility.votes == 1 or len(np.unique(fit(tally).group)) == 2)
            assert not any(changes_by(tally, fewer) for fewer in range(1, fragility.votes))
        assert tried >= 10

    def test_a_model_second_by_rating_is_not_the_rival_that_needs_fewest(self):
        """z has few votes and trails by more points than y, yet far fewer votes hold it back."""
        fragility = fewest_votes(
            fit(
                tally_totals(
                    [
                        ("x", "y", "model_a", 520),
                        ("y", "x", "model_a", 480),
                        ("x", "z", "model_a", 6),
                        ("z", "x", "model_a", 4),
                    ]
                )
            )
        )
        assert fragility.new_first == 2
        assert fragility.votes == 3

    def test_one_model_or_one_that_must_keep_a_vote_to_be_compared_has_no_such_set(self):
        assert fewest_votes(fit(tally_totals([("x", "y", "model_a", 10)]))) is None


class TestFewestVoters:
    def test_two_voters_carry_the_first_place(self):
        """Ten voters are level but for one vote for y; two more gave x six votes each."""
        voter = np.repeat(np.arange(12), 6)
        label = np.concatenate([np.tile([0, 1], 30), np.zeros(12, int)])
        ones = np.ones(72, int)
        level = [(voter, 0 * ones, ones, label, ones)]
        assert fewest_voters(fit(tally_of(0 * ones, ones, label, 2)), level) is None  # without the two nobody is first

        label[0] = 1
        voter_fragility = fewest_voters(fit(tally_of(0 * ones, ones, label, 2)), [(voter, 0 * ones, ones, label, ones)])
        assert voter_fragility.voters == (10, 11)
        assert (voter_fragility.votes, voter_fragility.of_voters, voter_fragility.new_first) == (12, 12, 1)
        assert not voter_fragility.is_minimal

    def test_without_those_voters_the_places_do_change(self):
        random = np.random.default_rng(3)
        a, b, label = simulate(random.normal(0, 0.5, 6), 2000, random)
        voter, counts = np.sort(random.integers(0, 90, 2000)), np.ones(2000, int)
        fitted = fit(tally_of(a, b, label, 6))
        blocks = [(voter[:900], a[:900], b[:900], label[:900], counts[:900])]
        blocks += [(voter[900:], a[900:], b[900:], label[900:], counts[900:])]
        voter_fragility = fewest_voters(fitted, blocks)
        stay = ~np.isin(voter, voter_fragility.voters)
        assert (
            first_of(fit(tally_of(a[stay], b[stay], label[stay], 6)))
            == voter_fragility.new_first
            != voter_fragility.first
        )
        assert voter_fragility.votes == (~stay).sum()
        assert len(voter_fragility.voters) < fewest_votes(fitted).votes

    def test_other_votes_than_the_fits_are_refused(self):
        fitted = fit(tally_totals([("x", "y", "model_a", 3), ("x", "y", "model_b", 1)]))
        one = np.ones(1, int)
        with pytest.raises(ValueError, match="same votes"):
            fewest_voters(fitted, [(one, 0 * one, one, 0 * one, one)])


def test_labels_are_in_the_order_these_tests_assume():
    assert LABELS == ("model_a", "model_b", "tie", "both_bad")
