"""The leaderboard as the ledger had it at a moment, and ratings over time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.core.cache import cache
from django.utils import timezone

from annotate.models import Comparison, Status, StatusChange
from evaluation.leaderboard import rating_history
from evaluation.leaderboard.leaderboard_rows import standings
from evaluation.leaderboard.rating_history import board_at, history
from evaluation.leaderboard.snapshots import current, stored, tally_of
from evaluation.leaderboard.votes import ledger
from tests.support.factories import make_model

PERSON = "person"
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def given(comparisons: list[Comparison], at: datetime) -> list[Comparison]:
    Comparison.objects.filter(pk__in=[c.pk for c in comparisons]).update(created_at=at)
    return comparisons


def change(comparison: Comparison, after: str, at: datetime) -> None:
    before = Comparison.objects.values_list("status", flat=True).get(pk=comparison.pk)
    Comparison.objects.filter(pk=comparison.pk).update(status=after)
    row = StatusChange.objects.create(
        kind="comparison", feedback_id=comparison.pk, before=before, after=after, reason="test"
    )
    StatusChange.objects.filter(pk=row.pk).update(created_at=at)


@pytest.fixture
def days(project, base, child, vote) -> datetime:
    """Day 0: two wins. Day 1: a loss. Day 2: one of the wins is taken back. Day 3: it counts again, and a tie."""
    first = timezone.now().replace(microsecond=0) - timedelta(days=10)
    wins = given(vote(child, base, "model_a", 2), first)
    given(vote(child, base, "model_b"), first + timedelta(days=1))
    change(wins[0], Status.WITHDRAWN, first + timedelta(days=2))
    change(wins[0], Status.COUNTED, first + timedelta(days=3))
    given(vote(base, child, "tie"), first + timedelta(days=3))
    return first


@pytest.mark.parametrize(("after", "record"), [(0, (2, 0, 0)), (1, (2, 0, 1)), (2, (1, 0, 1)), (3, (2, 1, 1))])
def test_the_board_of_a_day_has_the_votes_that_counted_then(project, child, days, after, record):
    board = board_at(project=project, judge=PERSON, at=days + timedelta(days=after, hours=1))
    row = next(row for row in standings(board) if row.model == child)
    assert (row.wins, row.ties, row.losses) == record
    assert f"as of {days + timedelta(days=after, hours=1):%Y-%m-%d}" in board.signature


def test_before_the_first_vote_the_board_is_empty_and_after_the_last_it_is_todays(project, days):
    assert board_at(project=project, judge=PERSON, at=days - timedelta(seconds=1)).votes == 0
    now = board_at(project=project, judge=PERSON, at=timezone.now())
    today = current(project=project, judge=PERSON)
    assert now.ratings["rows"] == today.ratings["rows"]
    assert now.last_comparison_id == today.last_comparison_id


def test_a_moment_to_come_is_refused_and_a_past_one_is_not_stored(project, days):
    with pytest.raises(ValueError, match="in the future"):
        board_at(project=project, judge=PERSON, at=timezone.now() + timedelta(days=1))
    with pytest.raises(ValueError, match="as it stands now"):
        stored(board_at(project=project, judge=PERSON, at=days))


def test_a_settled_moment_is_read_once(project, days, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(ledger, "PATIENCE", -1.0)  # a sequence that does not begin at 1 is waited for otherwise
    at = days + timedelta(days=1)
    board = board_at(project=project, judge=PERSON, at=at)
    with django_assert_max_num_queries(3):
        assert board_at(project=project, judge=PERSON, at=at) is board


def test_history_agrees_with_the_boards_of_its_moments(project, base, child, vote):
    """Over random votes and undos at random times, models that come later among them."""
    chance, begun = random.Random(1), timezone.now() - timedelta(days=20)
    models = [base, child, make_model(), make_model()]
    for day in range(18):
        a, b = chance.sample(models[: 2 + day // 6], 2)
        cast = given(vote(a, b, chance.choice(["model_a", "model_b", "tie"]), 3), begun + timedelta(days=day))
        if day % 3 == 0:
            change(cast[0], Status.HELD, begun + timedelta(days=day + chance.random() * 2))
    found = history(project, PERSON, points=40)
    assert len(found.moments) > 20
    for row in range(0, len(found.moments) - 1, 5):
        board = board_at(project=project, judge=PERSON, at=found.moments[row])
        assert found.votes[row] == board.votes
        shown = {line["model"]: line["rating"] for line in board.ratings["rows"] if line["group"] == 0}
        ratings = dict(zip(found.models, found.rating[row], strict=True))
        assert {model for model, rating in ratings.items() if not np.isnan(rating)} == shown.keys()
        for model, rating in shown.items():
            assert ratings[model] == pytest.approx(rating, abs=1e-6)
    today = {line["model"]: line["lower"] for line in current(project=project, judge=PERSON).ratings["rows"]}
    last = dict(zip(found.models, found.lower[-1], strict=True))
    assert last == pytest.approx({model: today[model] for model in found.models}, abs=1.0)


def test_history_is_read_on_from_the_last_moment_that_is_known(project, days, base, child, vote, monkeypatch):
    """A day later the ledger is read from there alone, and says what a reading from the beginning says."""
    first = history(project, PERSON)
    monkeypatch.setattr(rating_history, "_fits", lambda *_: pytest.fail("the ledger was read again"))
    vote(child, base)
    again = history(project, PERSON)
    assert again.votes[-1] == first.votes[-1] + 1, "the last point is now"
    assert again.votes[:-1].tolist() == first.votes[:-1].tolist()
    monkeypatch.undo()
    since: list[datetime | None] = []
    reading = rating_history._votes
    monkeypatch.setattr(rating_history, "_votes", lambda *given: [since.append(given[2]), reading(*given)][1])
    vote(base, child, "model_a", 2)
    step = first.moments[1] - first.moments[0]
    monkeypatch.setattr(rating_history, "_SETTLED", rating_history._SETTLED - 2 * step)
    later = history(project, PERSON)
    assert since == [first.moments[-2]]
    cache.clear()
    anew = history(project, PERSON)
    assert since[1:] == [None]
    np.testing.assert_array_equal(later.votes, anew.votes)
    np.testing.assert_allclose(later.rating, anew.rating, atol=1e-6)


def test_there_is_no_history_without_votes(project):
    assert history(project, PERSON) is None


def test_moments_lie_on_round_times_and_are_no_more_than_asked_for(project, days):
    found = history(project, PERSON, points=24)
    assert 8 <= len(found.moments) <= 25
    assert {(at.minute, at.second) for at in found.moments[:-1]} == {(0, 0)}


def test_the_tally_of_a_past_board_is_that_of_its_totals(project, days):
    board = board_at(project=project, judge=PERSON, at=days)
    assert sum(total[3] for total in board.ratings["totals"]) == tally_of(board).votes == 2
