"""Submitting, taking back, and what is refused: nothing is half-written, and each refusal names its field."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.models import Assignment, Comparison, Dataset, Demonstration, Guideline, Rating, StatusChange
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_guideline,
    make_pair,
    make_prompt,
    make_rating,
    make_user,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def rate(project, user):
    return make_assignment(user, make_completion(make_prompt(project), "An answer."))


@pytest.fixture
def compare(project, user):
    return make_assignment(user, *make_pair(project))


def refusal(assignment, by, **said) -> Refused:
    """The refusal, after a look that nothing was written and the item is still in hand."""
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=assignment, by=by, **said)
    assert not Rating.objects.exists() and not Comparison.objects.exists() and not Demonstration.objects.exists()
    assert Assignment.objects.get(pk=assignment.pk).state == "open"
    return refused.value


def looked_at(assignment, minutes: float = 5) -> None:
    """Handed out so long ago; its guidelines too."""
    ago = timezone.now() - timedelta(minutes=minutes)
    Assignment.objects.filter(pk=assignment.pk).update(created_at=ago)
    Guideline.objects.filter(version__lt=3).update(created_at=ago - timedelta(minutes=1))
    assignment.refresh_from_db()


def close_at(assignment, **ago) -> None:
    Assignment.objects.filter(pk=assignment.pk).update(closed_at=timezone.now() - timedelta(**ago))


def test_a_rating_carries_who_what_and_under_which_guidelines(project, user):
    make_guideline(project)
    make_guideline(project)
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    make_guideline(project)  # revised while the item was in hand: its annotator had read version 2
    looked_at(assignment)
    row = feedback.submit(
        assignment=assignment, by=user, thumbs=False, stars=2, aspects={"helpful": 1}, comment="Too short.", seconds=3.5
    )
    row.refresh_from_db()
    assert (row.thumbs, row.stars, row.aspects, row.comment, row.seconds) == (
        False,
        2,
        {"helpful": 1},
        "Too short.",
        3.5,
    )
    assert (row.author, row.judge, row.status, row.guideline_version) == (user, "person", "counted", 2)
    assert (row.project, row.prompt, row.completion) == (project, assignment.prompt, assignment.completion_a)
    assignment.refresh_from_db()
    assert assignment.state == "submitted"


def test_a_comparison_keeps_the_order_shown(compare, user):
    row = feedback.submit(assignment=compare, by=user, winner="model_b", strength=3)
    assert (row.completion_a_id, row.completion_b_id) == (compare.completion_a_id, compare.completion_b_id)
    assert (row.winner, row.strength) == ("model_b", 3)


@pytest.mark.parametrize("winner", ["tie", "both_bad"])
def test_a_comparison_may_have_no_winner(compare, user, winner):
    assert feedback.submit(assignment=compare, by=user, winner=winner).strength is None


def test_a_simulated_annotators_rows_say_so(project):
    simulated = make_user(project, is_simulated=True)
    assignment = make_assignment(simulated, make_completion(make_prompt(project)))
    assert feedback.submit(assignment=assignment, by=simulated, stars=5).judge == "simulation"


def test_an_annotation_and_an_edited_answer_come_together(rate, user):
    row = feedback.submit(assignment=rate, by=user, stars=2, text="A better answer.", edited_from=rate.completion_a)
    assert isinstance(row, Rating)
    answer = Demonstration.objects.get()
    assert (answer.text, answer.edited_from, answer.assignment) == ("A better answer.", rate.completion_a, rate)


def test_an_answer_of_ones_own_is_enough(compare, user):
    row = feedback.submit(assignment=compare, by=user, text="Neither; this.")
    assert isinstance(row, Demonstration)
    assert not Comparison.objects.exists()


def test_the_same_key_gets_the_first_answer_again(compare, user):
    first = feedback.submit(assignment=compare, by=user, winner="model_a", idempotency_key="k1")
    second = feedback.submit(assignment=compare, by=user, winner="model_b", idempotency_key="k1")
    assert first == second
    assert Comparison.objects.get().winner == "model_a"


@pytest.mark.django_db(transaction=True)
def test_a_double_click_is_stored_once(compare, user):
    gate, rows, failures = threading.Barrier(4), [], []

    def send():
        try:
            mine = Assignment.objects.get(pk=compare.pk)
            gate.wait()
            rows.append(feedback.submit(assignment=mine, by=user, winner="tie", idempotency_key="k1").pk)
        except Exception as error:  # shown by the assertion below, in the main thread
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(rows) == {Comparison.objects.get().pk}


@pytest.mark.parametrize(
    ("said", "field", "status"),
    [
        ({"winner": "model_c"}, "winner", 400),
        ({"winner": 1}, "winner", 400),
        ({"winner": ["model_a"]}, "winner", 400),
        ({}, "winner", 400),
        ({"comment": "only words"}, "winner", 400),
        ({"strength": 2}, "strength", 400),
        ({"winner": "tie", "strength": 2}, "strength", 400),
        ({"winner": "model_a", "strength": 4}, "strength", 400),
        ({"winner": "model_a", "strength": True}, "strength", 400),
        ({"winner": "model_a", "thumbs": True}, "thumbs", 400),
        ({"winner": "model_a", "stars": 3}, "stars", 400),
        ({"winner": "model_a", "aspects": {"helpful": 3}}, "aspects", 400),
        ({"winner": "model_a", "comment": "x" * 10_001}, "comment", 413),
        ({"winner": "model_a", "comment": "a\x00b"}, "comment", 400),
        ({"winner": "model_a", "comment": 5}, "comment", 400),
        ({"winner": "model_a", "seconds": -1}, "seconds", 400),
        ({"winner": "model_a", "seconds": float("nan")}, "seconds", 400),
        ({"winner": "model_a", "seconds": "quick"}, "seconds", 400),
        ({"winner": "model_a", "idempotency_key": "k" * 121}, "idempotency_key", 400),
    ],
)
def test_a_wrong_comparison_is_refused(compare, user, said, field, status):
    refused = refusal(compare, user, **said)
    assert (list(refused.errors), refused.status) == ([field], status)


@pytest.mark.parametrize(
    ("said", "field", "status"),
    [
        ({"stars": 6}, "stars", 400),
        ({"stars": 0}, "stars", 400),
        ({"stars": 2.5}, "stars", 400),
        ({"stars": True}, "stars", 400),
        ({"stars": "5"}, "stars", 400),
        ({"thumbs": "up"}, "thumbs", 400),
        ({"thumbs": 1}, "thumbs", 400),
        ({}, "stars", 400),
        ({"comment": "only words"}, "stars", 400),
        ({"winner": "model_a"}, "winner", 400),
        ({"stars": 3, "strength": 1}, "strength", 400),
        ({"aspects": {"helpful": 9}}, "aspects", 400),
        ({"aspects": ["helpful"]}, "aspects", 400),
        ({"text": "  "}, "text", 400),
        ({"text": "An answer. "}, "text", 400),
        ({"text": "x" * 100_001}, "text", 413),
        ({"text": "a\x00b"}, "text", 400),
        ({"text": 7}, "text", 400),
    ],
)
def test_a_wrong_rating_is_refused(rate, user, said, field, status):
    refused = refusal(rate, user, **said)
    assert (list(refused.errors), refused.status) == ([field], status)


def test_an_answer_that_was_not_shown_cannot_be_the_start_of_an_edit(rate, user, project):
    stranger = make_completion(make_prompt(project))
    assert list(refusal(rate, user, text="Edited.", edited_from=stranger).errors) == ["edited_from"]


def test_someone_elses_item_is_refused(rate, project):
    assert refusal(rate, make_user(project), stars=3).status == 403


def test_who_is_no_member_any_more_is_refused(rate, user, project):
    project.memberships.all().delete()
    assert refusal(rate, user, stars=3).status == 403


def test_an_expired_item_is_refused_and_says_what_to_do(rate, user):
    Assignment.objects.filter(pk=rate.pk).update(expires_at=timezone.now())
    rate.refresh_from_db()
    refused = refusal(rate, user, stars=3)
    assert refused.status == 410
    assert "Open it again" in refused.errors["assignment"]


@pytest.mark.parametrize("key", [None, "another"])
def test_a_second_annotation_is_refused(rate, user, key):
    feedback.submit(assignment=rate, by=user, stars=3, idempotency_key="first")
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=rate, by=user, stars=4, idempotency_key=key)
    assert refused.value.status == 409
    assert Rating.objects.get().stars == 3


def test_a_key_of_another_item_is_refused(rate, user, project):
    feedback.submit(assignment=rate, by=user, stars=3, idempotency_key="first")
    other = make_assignment(user, make_completion(make_prompt(project)))
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=other, by=user, stars=4, idempotency_key="first")
    assert (refused.value.status, list(refused.value.errors)) == (409, ["idempotency_key"])


def test_undo_withdraws_the_row_and_hands_the_item_back(rate, user):
    row = feedback.submit(assignment=rate, by=user, stars=3, text="Mine.")
    feedback.undo(assignment=rate, by=user)
    row.refresh_from_db()
    assert (row.status, row.status_reason, row.stars) == ("withdrawn", "undo", 3)
    assert Demonstration.objects.get().status == "withdrawn"
    ledger = StatusChange.objects.order_by("kind")
    assert [(c.kind, c.before, c.after, c.by) for c in ledger] == [
        ("demonstration", "counted", "withdrawn", user),
        ("rating", "counted", "withdrawn", user),
    ]
    rate.refresh_from_db()
    assert rate.state == "open" and rate.expires_at > timezone.now()


def test_after_undo_the_item_is_judged_anew(compare, user):
    feedback.submit(assignment=compare, by=user, winner="model_a", idempotency_key="k1")
    feedback.undo(assignment=compare, by=user)
    feedback.submit(assignment=compare, by=user, winner="model_b", idempotency_key="k2")
    assert list(Comparison.objects.counted().values_list("winner", flat=True)) == ["model_b"]
    assert Comparison.objects.count() == 2


def test_undo_is_for_what_was_submitted(rate, user):
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=rate, by=user)
    assert refused.value.status == 409


def test_nobody_undoes_for_someone_else(rate, user, project):
    feedback.submit(assignment=rate, by=user, stars=3)
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=rate, by=make_user(project))
    assert refused.value.status == 403
    assert Rating.objects.get().status == "counted"


def test_undo_is_refused_when_it_is_no_longer_fresh(rate, user):
    feedback.submit(assignment=rate, by=user, stars=3)
    close_at(rate, minutes=rate.project.edit_minutes + 1)
    with pytest.raises(Refused):
        feedback.undo(assignment=rate, by=user)
    assert Rating.objects.get().status == "counted"


def test_undo_is_refused_when_a_frozen_dataset_holds_the_row(rate, user, project):
    row = feedback.submit(assignment=rate, by=user, stars=3)
    row.datasets.add(Dataset.objects.create(project=project, name="d", kind="preferences", side="train"))
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=rate, by=user)
    assert "frozen dataset" in refused.value.errors["assignment"]
    assert Rating.objects.get().status == "counted"


def test_undoing_a_skip_is_refused_when_someone_else_got_the_item(rate, user, project):
    from annotate.labelling import assignment_lifecycle

    assignment_lifecycle.skip(assignment=rate, by=user, reason="later")
    make_assignment(make_user(project), rate.completion_a)
    with pytest.raises(Refused) as refused:
        feedback.undo(assignment=rate, by=user)
    assert refused.value.status == 409


def test_a_manager_excludes_rows_with_a_reason_and_the_ledger_tells(project):
    manager = make_user(project, role="manager")
    rows = [make_rating(make_completion(make_prompt(project))) for _ in range(3)]
    assert feedback.set_status(rows=rows, status="excluded", reason="spam", by=manager) == 3
    assert feedback.set_status(rows=rows, status="excluded", reason="spam", by=manager) == 0
    assert set(Rating.objects.values_list("status", "status_reason")) == {("excluded", "spam")}
    assert list(StatusChange.objects.values_list("before", "after", "by").distinct()) == [
        ("counted", "excluded", manager.pk)
    ]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"status": "deleted"}, "status"),
        ({"status": "withdrawn"}, "status"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 201}, "reason"),
    ],
)
def test_a_wrong_status_change_is_refused(project, change, field):
    row = make_rating(make_completion(make_prompt(project)))
    with pytest.raises(Refused) as refused:
        feedback.set_status(
            rows=[row], by=make_user(project, role="manager"), **{"status": "held", "reason": "check", **change}
        )
    assert list(refused.value.errors) == [field]
    assert Rating.objects.get().status == "counted"


def test_an_annotator_changes_no_status(project, user):
    row = make_rating(make_completion(make_prompt(project)))
    with pytest.raises(Refused) as refused:
        feedback.set_status(rows=[row], status="excluded", reason="mine is better", by=user)
    assert refused.value.status == 403


def test_an_excluded_annotation_gives_its_place_to_someone_else(project, user):
    make_completion(make_prompt(project))
    manager, other = make_user(project, role="manager"), make_user(project)
    mine = assignments.next_for(project=project, user=user, kind="rate")
    row = feedback.submit(assignment=mine, by=user, stars=1)
    assert assignments.next_for(project=project, user=other, kind="rate") is None
    feedback.set_status(rows=[row], status="held", reason="looks odd", by=manager)
    assert assignments.next_for(project=project, user=other, kind="rate") is None
    feedback.set_status(rows=[row], status="excluded", reason="guessed", by=manager)
    assert assignments.next_for(project=project, user=user, kind="rate") is None
    assert assignments.next_for(project=project, user=other, kind="rate").item == mine.item
    with pytest.raises(Refused) as refused:
        feedback.submit(assignment=mine, by=user, stars=5)
    assert "manager" in refused.value.errors["assignment"]


def test_an_annotation_that_counts_again_has_its_place_back(project, user):
    make_completion(make_prompt(project))
    manager = make_user(project, role="manager")
    mine = assignments.next_for(project=project, user=user, kind="rate")
    row = feedback.submit(assignment=mine, by=user, stars=1)
    for status in ("excluded", "counted"):
        feedback.set_status(rows=[row], status=status, reason="looked at again", by=manager)
    assert assignments.next_for(project=project, user=make_user(project), kind="rate") is None
