"""Votes as arrays: the same votes whatever the order, the size of a block and the kind of voter."""

from __future__ import annotations

import threading
from collections import Counter

import numpy as np
import pytest

from annotate.models import Comparison
from evaluation.leaderboard import rating_intervals as intervals
from evaluation.leaderboard.snapshots import current, fit_of
from evaluation.leaderboard.votes.counts import counts_of, tally_of_counts
from evaluation.leaderboard.votes.vote_blocks import FIRST_VISITOR, blocks
from evaluation.models import VoteCounts
from evaluation.ratings.bradley_terry import fit
from evaluation.ratings.voter_clusters import by_voters
from tests.support.factories import make_comparison, make_completion, make_model, make_project, make_prompt, make_user
from tests.support.processes import until

PERSON = "person"


def total(found) -> Counter:
    """Votes by (A, B, said), and how many there were of each voter without saying who."""
    votes = Counter()
    for block in found:
        for a, b, label, times in zip(block.a, block.b, block.label, block.times, strict=True):
            votes[int(a), int(b), int(label)] += int(times)
    return votes


def by_voter(found) -> list[int]:
    each = Counter()
    for block in found:
        for voter, times in zip(block.voter, block.times, strict=True):
            each[int(voter)] += int(times)
    return sorted(each.values())


@pytest.fixture
def cast(project, base, child, vote):
    """Three accounts and three visitors, one of the accounts with votes that do not count."""
    repeater = make_user()
    vote(child, base, "model_a", 3, author=repeater)
    vote(base, child, "tie", 2, author=repeater)
    vote(child, base, "model_b", 1)
    vote(child, base, "both_bad", 4, author=make_user())
    vote(child, base, "model_a", 5, status="held")
    for number, comparison in enumerate(vote(child, base, "model_a", 6)):
        Comparison.objects.filter(pk=comparison.pk).update(author=None, visitor=f"visitor-{number % 3}")
    return project


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("order", ["voter", "time"])
def test_every_vote_that_counts_is_in_one_block(cast, base, child, order, size):
    found = list(blocks(cast, PERSON, order=order, size=size))
    assert max(len(block.voter) for block in found) <= size
    assert total(found) == {
        (child.pk, base.pk, 0): 9,
        (base.pk, child.pk, 2): 2,
        (child.pk, base.pk, 1): 1,
        (child.pk, base.pk, 3): 4,
    }
    assert by_voter(found) == [1, 2, 2, 2, 4, 5]


def test_voters_ascend_over_all_blocks_and_visitors_come_last(cast):
    voters = np.concatenate([block.voter for block in blocks(cast, PERSON, size=2)])
    assert (np.diff(voters) >= 0).all()
    assert (voters >= FIRST_VISITOR).sum() == 3, "two votes of the same are one row"


def test_models_can_be_places(cast, base, child):
    found = total(blocks(cast, PERSON, models=[child.pk, base.pk]))
    assert (found[0, 1, 0], found[1, 0, 2]) == (9, 2)
    with pytest.raises(ValueError, match="not in the list of models"):
        list(blocks(cast, PERSON, models=[base.pk]))
    with pytest.raises(ValueError, match="by voter or time"):
        list(blocks(cast, PERSON, order="luck"))


def test_a_category_and_a_language_can_be_asked_for(cast, project, base, child):
    prompt = make_prompt(project, "Was ist der höchste Berg im ganzen Land?", side="eval", category="places")
    make_comparison(make_completion(prompt, model=base), make_completion(prompt, model=child))
    counts_of(project, PERSON)
    assert sum(total(blocks(project, PERSON, category="places")).values()) == 1
    assert sum(total(blocks(project, PERSON, language="de")).values()) == 1
    assert not list(blocks(project, PERSON, category="elsewhere"))


class TestIntervals:
    @pytest.fixture
    def repeaters(self, project, base, child, vote):
        """Twelve people who each always say the same: their votes tell less than as many of strangers."""
        for number in range(12):
            vote(child, base, "model_a" if number % 3 else "model_b", 10, author=make_user())
        return project

    def test_they_go_by_voters_where_these_repeat(self, repeaters, base, child):
        board = current(project=repeaters, judge=PERSON)
        plain = fit(tally_of_counts(counts_of(repeaters, PERSON)))
        exact, _ = by_voters(plain, blocks(repeaters, PERSON, models=plain.models))
        np.testing.assert_allclose(fit_of(board).covariance, exact.covariance, rtol=1e-9)
        assert board.ratings["rows"][0]["upper"] == pytest.approx(float(exact.upper.max()))
        assert exact.standard_error[0] > 2 * plain.standard_error[0]
        assert "sandwich by voters, Student (12 voters" in board.signature
        assert board.ratings["judges"] == 12

    def test_too_few_voters_are_said_and_their_votes_stand_for_themselves(self, project, base, child, vote):
        vote(child, base, "model_a", 60)
        vote(child, base, "model_b", 20)
        board = current(project=project, judge=PERSON)
        assert board.ratings["intervals"]["by"] == "few"
        assert "sandwich by votes of 2 voters" in board.signature
        plain = fit(tally_of_counts(counts_of(project, PERSON)))
        np.testing.assert_allclose(fit_of(board).covariance, plain.covariance)

    def test_votes_of_strangers_are_what_is_drawn(self, project, base, child, vote):
        for _ in range(3):
            vote(child, base)
        vote(base, child)
        board = current(project=project, judge=PERSON)
        assert board.ratings["intervals"]["by"] == "votes"
        assert "nobody voted twice" in board.signature

    def test_many_votes_scale_them_by_the_last_pass_over_voters(self, repeaters, base, child, vote, monkeypatch):
        exact = fit_of(current(project=repeaters, judge=PERSON))
        monkeypatch.setattr(intervals, "EXACT", 10)
        numbers: list[int] = []
        monkeypatch.setattr(intervals, "_refresh_in_background", numbers.append)
        VoteCounts.objects.filter(part="").update(state="another")
        board = current(project=repeaters, judge=PERSON)
        pk = VoteCounts.objects.get(part="").pk
        assert numbers == [pk]
        assert "voters not read yet" in board.signature and board.ratings["judges"] is None
        intervals.refresh(pk)
        board = current(project=repeaters, judge=PERSON)
        np.testing.assert_allclose(fit_of(board).covariance, exact.covariance, rtol=1e-9)
        assert fit_of(board).critical == exact.critical
        vote(child, base)
        board = current(project=repeaters, judge=PERSON)
        assert board.votes == 121
        assert "scaled as of 120 votes" in board.signature
        assert numbers == [pk], "not again so soon"
        fresh = fit(tally_of_counts(counts_of(repeaters, PERSON)))
        ratio = fit_of(board).standard_error / fresh.standard_error
        np.testing.assert_allclose(ratio, exact.standard_error / fit_of_votes(exact).standard_error, rtol=1e-9)


@pytest.mark.django_db(transaction=True)
def test_voters_of_many_votes_are_read_in_the_background_and_the_page_moves(monkeypatch):
    """The page answers at once; a thread reads the voters, and gives the counts another state."""
    monkeypatch.setattr(intervals, "EXACT", 10)
    project, a, b = make_project(), make_model(), make_model()
    prompt = make_prompt(project, side="eval")
    answers = make_completion(prompt, model=a), make_completion(prompt, model=b)
    for number in range(6):
        author = make_user()
        for _ in range(4):
            make_comparison(*answers, "model_b" if number < 2 else "model_a", author)
    first = current(project=project, judge=PERSON)
    assert "voters not read yet" in first.signature
    until(lambda: current(project=project, judge=PERSON).state != first.state, 30, "the voters are read")
    board = current(project=project, judge=PERSON)
    assert "by voters, Student (6 voters" in board.signature
    assert fit_of(board).standard_error[0] > 1.5 * fit_of(first).standard_error[0]
    for thread in threading.enumerate():
        if thread.name.startswith("voters-"):
            thread.join(10)


def fit_of_votes(fitted):
    return fit(fitted.tally)
