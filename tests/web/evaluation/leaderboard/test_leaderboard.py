"""Which votes rank a model, when a leaderboard is computed anew, and what it publishes."""

import contextlib
import math
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from annotate.models import Status, StatusChange
from evaluation.leaderboard import leaderboard_overview
from evaluation.leaderboard.leaderboard_rows import position_share, standings, win_matrix
from evaluation.leaderboard.snapshots import current, default_annotator_kind, left_out, stored, tally_of
from evaluation.leaderboard.votes import ledger
from evaluation.models import Leaderboard
from tests.support.factories import make_comparison, make_completion, make_model, make_prompt, make_user

PERSON, SIMULATION = "person", "simulation"


def rating_gap(board) -> float:
    rows = {row.model.name: row.rating for row in standings(board)}
    return rows["tide-sft"] - rows["tide-base"]


def change_status(comparison, status):
    StatusChange.objects.create(
        kind="comparison", feedback_id=comparison.pk, before=comparison.status, after=status, reason="test"
    )
    comparison.status = status
    comparison.save()


def test_ratings_come_from_wins_and_half_ties(project, base, child, vote):
    vote(child, base, "model_a", 20)
    vote(base, child, "model_a", 10)
    vote(child, base, "tie", 4)
    vote(child, base, "both_bad", 6)
    board = current(project=project, judge=PERSON)
    assert board.votes == 40
    assert rating_gap(board) == pytest.approx(400 * math.log10(25 / 15), abs=1e-6)
    top = standings(board)[0]
    assert (top.model, top.battles, top.wins, top.ties, top.losses) == (child, 40, 20, 10, 10)


@pytest.mark.parametrize("status", [Status.HELD, Status.EXCLUDED, Status.WITHDRAWN])
def test_only_counted_votes_rank(project, base, child, vote, status):
    vote(child, base, n=3)
    vote(child, base, n=5, status=status)
    assert current(project=project, judge=PERSON).votes == 3
    assert left_out(project, PERSON) == {status: 5}


def test_votes_on_the_training_side_rank_nothing(project, base, child, vote):
    vote(child, base, n=3, side="train")
    assert current(project=project, judge=PERSON).votes == 0


def test_people_and_simulations_are_never_mixed(project, base, child, vote):
    vote(child, base, "model_a", 3)
    vote(child, base, "model_b", 7, is_simulated=True)
    assert [row.model for row in standings(current(project=project, judge=PERSON))] == [child, base]
    assert [row.model for row in standings(current(project=project, judge=SIMULATION))] == [base, child]
    with pytest.raises(ValueError, match="unknown judge"):
        current(project=project, judge="everyone")


def test_votes_of_other_projects_and_of_nobodys_answers_rank_nothing(project, base, child, vote):
    from tests.support.factories import make_project

    other = make_prompt(make_project(), side="eval")
    make_comparison(make_completion(other, model=base), make_completion(other, model=child))
    prompt = make_prompt(project, side="eval")
    imported = make_completion(prompt)
    imported.model = None
    imported.save()
    make_comparison(imported, make_completion(prompt, model=base))
    make_comparison(make_completion(prompt, model=base), make_completion(prompt, model=base))
    assert current(project=project, judge=PERSON).votes == 0


def test_people_come_first_as_soon_as_one_vote_of_theirs_counts(project, base, child, vote):
    assert default_annotator_kind(project) == PERSON
    vote(child, base, is_simulated=True)
    assert default_annotator_kind(project) == SIMULATION
    vote(child, base)
    assert default_annotator_kind(project) == PERSON


def test_the_board_opens_on_whose_votes_are_enough_and_says_so(client, project, base, child, vote):
    vote(child, base, n=20, is_simulated=True)
    vote(child, base, n=3)
    assert default_annotator_kind(project) == SIMULATION
    page = " ".join(client.get(f"/p/{project.slug}/leaderboard/").content.decode().split())
    assert "20 votes of 1 <strong>simulated</strong> annotator" in page
    assert "People have cast 3 votes</a>, too few to rank 2 models" in page
    [station] = leaderboard_overview.of_project(project).stations
    assert station.count == 20 and station.line.startswith("simulated votes, ")
    vote(base, child, n=17)
    assert default_annotator_kind(project) == PERSON
    [station] = leaderboard_overview.of_project(project).stations
    assert station.count == 20 and station.line.startswith("votes, ")


def test_the_votes_of_one_annotator_make_no_model_first(project, base, child, vote):
    vote(child, base, n=10)
    assert standings(current(project=project, judge=PERSON))[0].worst_rank == 1
    [station] = leaderboard_overview.of_project(project).stations
    assert station.line == "votes, no clear first yet"
    for _ in range(30):
        vote(child, base)
    [station] = leaderboard_overview.of_project(project).stations
    assert station.line == f"votes, first: {child.name}"


def test_a_leaderboard_is_computed_once_until_the_votes_change(project, base, child, vote):
    first_vote = vote(child, base, n=3)[0]
    first = current(project=project, judge=PERSON)
    assert current(project=project, judge=PERSON) is first
    vote(child, base, n=2, is_simulated=True)
    assert current(project=project, judge=PERSON) is first
    vote(base, child)
    second = current(project=project, judge=PERSON)
    assert (second.votes, second.state != first.state) == (4, True)
    change_status(first_vote, Status.WITHDRAWN)
    third = current(project=project, judge=PERSON)
    assert third.votes == 3


def test_a_leaderboard_is_stored_when_it_is_pointed_at_once_for_each_state(project, base, child, vote):
    vote(child, base, n=3)
    first = stored(current(project=project, judge=PERSON))
    assert stored(current(project=project, judge=PERSON)) == first
    vote(base, child)
    second = stored(current(project=project, judge=PERSON))
    assert second != first
    assert tally_of(Leaderboard.objects.get(pk=second.pk)).votes == 4
    assert standings(second)[0].battles == 4


def test_votes_alone_store_no_more_than_one_leaderboard_an_hour(project, base, child, vote):
    for _ in range(3):
        vote(child, base)
        current(project=project, judge=PERSON)
    assert Leaderboard.objects.count() == 1
    Leaderboard.objects.update(created_at=timezone.now() - timedelta(hours=2))
    vote(child, base)
    current(project=project, judge=PERSON)
    assert Leaderboard.objects.count() == 2


def test_what_was_rolled_back_is_not_pointed_at(project, base, child, vote):
    vote(child, base)
    board = current(project=project, judge=PERSON)
    Leaderboard.objects.all().delete()
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        stored(board)
        raise ZeroDivisionError
    assert Leaderboard.objects.filter(pk=stored(board).pk).exists()


def test_votes_that_rank_nothing_make_no_new_leaderboard(project, base, child, vote):
    vote(child, base, n=3)
    first = current(project=project, judge=PERSON)
    change_status(vote(child, base, side="train")[0], Status.HELD)
    assert current(project=project, judge=PERSON) is first
    assert Leaderboard.objects.count() == 1


def test_a_vote_taken_back_while_another_arrives_is_noticed(project, base, child, vote):
    """As many votes as before, up to the same last one: only the ledger of statuses tells."""
    held, counted = vote(child, base, status=Status.HELD)[0], vote(base, child)[0]
    vote(base, child)
    before = rating_gap(current(project=project, judge=PERSON))
    change_status(held, Status.COUNTED)
    change_status(counted, Status.HELD)
    assert rating_gap(current(project=project, judge=PERSON)) > before


def test_an_empty_leaderboard_is_not_stored(project):
    board = current(project=project, judge=PERSON)
    assert (board.votes, stored(board), standings(board)) == (0, None, [])


def test_a_child_is_set_against_its_parent_with_the_interval_of_the_difference(project, base, child, vote):
    vote(child, base, "model_a", 80)
    vote(child, base, "model_b", 20)
    against = standings(current(project=project, judge=PERSON))[0].against
    assert (against.model, against.is_parent, against.verdict) == (base, True, "better")
    assert against.difference == pytest.approx(400 * math.log10(4), abs=1e-6)
    assert 0 < against.lower < against.difference < against.upper


def test_an_undecided_child_says_how_many_more_votes(project, base, child, vote):
    vote(child, base, "model_a", 12)
    vote(child, base, "model_b", 9)
    against = standings(current(project=project, judge=PERSON))[0].against
    assert against.verdict == "undecided"
    assert against.more_votes > 50


def test_a_grandchild_is_set_against_the_nearest_ancestor_that_was_in_a_battle(project, base, vote):
    untried = make_model(parent=base)
    grandchild = make_model(parent=untried)
    vote(grandchild, base, n=3)
    against = {row.model: row.against for row in standings(current(project=project, judge=PERSON))}[grandchild]
    assert (against.model, against.is_parent) == (base, False)


def test_the_win_matrix_reads_row_against_column(project, base, child, vote):
    third = make_model()
    vote(child, base, "model_a", 3)
    vote(base, child, "model_a", 1)
    vote(base, child, "tie", 2)
    vote(base, third, "model_a", 1)
    vote(base, third, "model_b", 1)
    board = current(project=project, judge=PERSON)
    rows = standings(board)
    cells = {(row.model, rows[j].model): cell for row, line in win_matrix(board, rows) for j, cell in enumerate(line)}
    meeting = cells[child, base]
    assert (meeting.wins, meeting.ties, meeting.losses, meeting.share) == (3, 2, 1, 4 / 6)
    assert cells[child, third] is None
    assert cells[child, child] is None


def test_the_snapshot_keeps_the_totals_it_was_fitted_to(project, base, child, vote):
    vote(child, base, "model_a", 3)
    vote(child, base, "both_bad", 2)
    tally = tally_of(current(project=project, judge=PERSON))
    assert tally.votes == 5
    assert tally.ties.max() == 2


def test_the_lean_to_the_first_shown_is_reported(project, base, child, vote):
    vote(child, base, "model_a", 45)
    vote(base, child, "model_a", 45)
    vote(base, child, "model_b", 10)
    share = position_share(current(project=project, judge=PERSON))
    assert share.value == 0.9
    assert share.is_biased
    vote(base, child, "model_b", 80)
    assert not position_share(current(project=project, judge=PERSON)).is_biased


def test_judges_are_counted_once_with_visitors(project, base, child, vote):
    author = make_user()
    vote(child, base, n=3, author=author)
    votes = vote(child, base, n=4)
    for number, comparison in enumerate(votes):
        comparison.author, comparison.visitor = None, f"visitor-{number % 2}"
        comparison.save()
    assert current(project=project, judge=PERSON).ratings["judges"] == 3


def test_a_warm_leaderboard_costs_few_queries(project, base, child, vote, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(ledger, "PATIENCE", -1.0)  # a sequence that does not begin at 1 is waited for otherwise
    vote(child, base, n=3)
    current(project=project, judge=PERSON)
    with django_assert_max_num_queries(4):
        standings(current(project=project, judge=PERSON))
