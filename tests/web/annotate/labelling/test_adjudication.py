"""Disagreements are found, decided by somebody else, or sent back; both leave their trace."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.core.db import kept_totals
from annotate.core.errors import Refused
from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.adjudication import actions as adjudication
from annotate.labelling.adjudication import disagreements
from annotate.labelling.pages.progress import done_today
from annotate.models import Assignment, Comparison, Delivery, GoldItem, Rating, StatusChange, Webhook
from tests.support.factories import make_assignment, make_completion, make_pair, make_project, make_prompt, make_user

pytestmark = pytest.mark.django_db


def judge(project, user, **said):
    assignment = assignments.next_for(project=project, user=user)
    feedback.submit(assignment=assignment, by=user, **said)
    return assignment


def prefer(project, user, completion):
    """Whichever side it was shown on."""
    assignment = assignments.next_for(project=project, user=user)
    winner = "model_a" if assignment.completion_a == completion else "model_b"
    feedback.submit(assignment=assignment, by=user, winner=winner)
    return assignment


@pytest.fixture
def disputed():
    """(project, pair, assignments of two annotators who part ways, a reviewer)"""
    project = make_project(asks_ratings=False, overlap=2)
    a, b = make_pair(project)
    one, other = make_user(project), make_user(project)
    said = [prefer(project, one, a), prefer(project, other, b)]
    return project, (a, b), said, make_user(project, role="reviewer")


def test_opposite_winners_are_found_whichever_sides_they_were_shown_on(disputed):
    project, (a, b), _, _ = disputed
    [found] = disagreements.waiting(project)
    assert (found.item, found.judges) == (f"compare:{a.pk}:{b.pk}", 2)
    assert found.reason == "1 for one answer, 1 for the other"


def test_of_a_large_project_the_items_of_its_newest_annotations_are_looked_at(client, monkeypatch):
    project = make_project(asks_ratings=False, overlap=2)
    one, other = make_user(project), make_user(project)
    items = []
    for _ in range(3):
        a, b = make_pair(project)
        items.append(prefer(project, one, a).item)
        prefer(project, other, b)
    items.reverse()
    assert [found.item for found in disagreements.waiting(project)] == items
    monkeypatch.setattr(kept_totals, "LARGE", 5)
    monkeypatch.setattr(disagreements, "NEWEST", (1, 3))
    assert [found.item for found in disagreements.waiting(project, limit=1)] == items[:1]
    assert [found.item for found in disagreements.waiting(project)] == items[:2]  # their first annotations count, too
    assert [found.judges for found in disagreements.waiting(project)] == [2, 2]
    client.force_login(make_user(project, role="reviewer"))
    assert "newest 3 annotations" in client.get(reverse("adjudicate", args=[project.slug])).content.decode()


def test_judges_of_one_mind_are_no_disagreement():
    project = make_project(asks_ratings=False, overlap=3)
    a, _ = make_pair(project)
    for _ in range(2):
        prefer(project, make_user(project), a)
    judge(project, make_user(project), winner="tie")
    assert disagreements.waiting(project) == []


@pytest.mark.parametrize("stars, found", [((3, 4), 0), ((2, 4), 1)])
def test_stars_two_apart_are_a_disagreement(stars, found):
    project = make_project(asks_comparisons=False, overlap=2)
    make_completion(make_prompt(project))
    for n in stars:
        judge(project, make_user(project), stars=n)
    assert len(disagreements.waiting(project)) == found


@pytest.mark.parametrize("thumbs, reasons", [((True, True), []), ((True, False, True), ["thumbs: 2 up, 1 down"])])
def test_opposite_thumbs_are_a_disagreement(thumbs, reasons):
    project = make_project(asks_comparisons=False, overlap=3)
    make_completion(make_prompt(project))
    for up in thumbs:
        judge(project, make_user(project), thumbs=up)
    assert [found.reason for found in disagreements.waiting(project)] == reasons


def test_a_ranking_that_turns_a_pair_around_is_a_disagreement():
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_rankings=True, overlap=2)
    prompt = make_prompt(project)
    x, y, z = (make_completion(prompt).pk for _ in range(3))
    judge(project, make_user(project), rank=[[x], [y], [z]])
    judge(project, make_user(project), rank=[[x], [z], [y]])
    [found] = disagreements.waiting(project)
    assert found.kind == "rank" and "turned around" in found.reason


def test_rankings_apart_in_many_pairs_leave_room_for_other_items():
    project = make_project(asks_ratings=False, asks_comparisons=False, asks_rankings=True, overlap=2)
    for prompt in [make_prompt(project) for _ in range(2)]:
        for _ in range(3):
            make_completion(prompt)
    for user, is_turned in ((make_user(project), False), (make_user(project), True)):
        while assignment := assignments.next_for(project=project, user=user):
            order = sorted(assignment.shown, reverse=is_turned)
            feedback.submit(assignment=assignment, by=user, rank=[[pk] for pk in order])
    found = disagreements.waiting(project, limit=2)
    assert len({one.item for one in found}) == 2, "each is apart in three pairs"


def test_people_and_simulations_are_not_set_against_each_other():
    project = make_project(asks_ratings=False)
    a, b = make_pair(project)
    prefer(project, make_user(project), a)
    prefer(project, make_user(project, is_simulated=True), b)
    assert disagreements.waiting(project) == disagreements.waiting(project, judge="simulation") == []


def test_a_decision_stands_in_the_place_of_what_was_said(disputed):
    project, (a, b), _, reviewer = disputed
    taken = adjudication.take(project=project, key=f"compare:{a.pk}:{b.pk}", by=reviewer)
    assert adjudication.take(project=project, key=taken.item, by=reviewer) == taken
    winner = "model_a" if taken.completion_a == a else "model_b"
    feedback.submit(assignment=taken, by=reviewer, winner=winner)
    assert disagreements.waiting(project) == []
    teaching = Comparison.objects.teaching().filter(project=project)
    assert [row.assignment for row in teaching] == [taken]
    assert Comparison.objects.counted().count() == 3  # what the annotators said is kept, and counts
    assert project.audit.filter(action="item.adjudicated", actor=reviewer).exists()


def test_a_decision_is_no_part_of_the_reviewers_day(disputed):
    project, (a, b), said, reviewer = disputed
    taken = adjudication.take(project=project, key=f"compare:{a.pk}:{b.pk}", by=reviewer)
    feedback.submit(assignment=taken, by=reviewer, winner="tie")
    assert [done_today(project, user) for user in (reviewer, said[0].user)] == [0, 1]


def test_an_adjudication_is_no_item_of_the_reviewers_own_queue(disputed):
    project, (a, b), _, reviewer = disputed
    adjudication.take(project=project, key=f"compare:{a.pk}:{b.pk}", by=reviewer)
    assert assignments.next_for(project=project, user=reviewer) is None


def test_nobody_decides_what_they_judged_themselves_or_what_another_decides(disputed):
    project, (a, b), said, reviewer = disputed
    key = f"compare:{a.pk}:{b.pk}"
    said[0].user.memberships.update(role="reviewer")
    with pytest.raises(Refused) as own:
        adjudication.take(project=project, key=key, by=said[0].user)
    assert "You annotated this item" in own.value.errors["item"]
    with pytest.raises(Refused) as role:
        adjudication.take(project=project, key=key, by=make_user(project))
    assert role.value.status == 403
    adjudication.take(project=project, key=key, by=reviewer)
    with pytest.raises(Refused) as busy:
        adjudication.take(project=project, key=key, by=make_user(project, role="manager"))
    assert "is deciding it" in busy.value.errors["item"]


def test_a_decision_whose_time_ran_out_keeps_nobody_from_deciding(disputed):
    project, (a, b), _, reviewer = disputed
    key = f"compare:{a.pk}:{b.pk}"
    left = adjudication.take(project=project, key=key, by=reviewer)
    Assignment.objects.filter(pk=left.pk).update(expires_at=timezone.now() - timedelta(minutes=1))
    taken = adjudication.take(project=project, key=key, by=make_user(project, role="manager"))
    assert (taken.item, taken.state) == (key, "open") and taken != left


def test_an_item_that_the_reviewer_only_skipped_may_be_decided_by_them():
    project = make_project(asks_ratings=False, overlap=2)
    a, b = make_pair(project)
    reviewer = make_user(project, role="reviewer")
    skipped = assignments.next_for(project=project, user=reviewer)
    assignment_lifecycle.skip(assignment=skipped, by=reviewer, reason="not now")
    prefer(project, make_user(project), a)
    prefer(project, make_user(project), b)
    taken = adjudication.take(project=project, key=skipped.item, by=reviewer)
    assert taken == skipped and taken.purpose == "adjudication" and taken.state == "open"


def test_what_is_sent_back_is_withdrawn_and_comes_first_with_the_comment(disputed):
    project, _, said, reviewer = disputed
    judge_, back = said[0].user, said[0]
    make_pair(project)
    newer = assignments.next_for(project=project, user=judge_)
    adjudication.send_back(assignment=back, by=reviewer, comment="Read the second answer to its end.")
    row = Comparison.objects.get(assignment=back)
    assert (row.status, row.status_reason) == ("withdrawn", "sent back")
    assert StatusChange.objects.get(feedback_id=row.pk).by == reviewer
    first = assignments.next_for(project=project, user=judge_)
    assert first == back and first.pk != newer.pk
    assert first.sent_back_comment == "Read the second answer to its end."
    # Their place is kept for them: nobody else is asked.
    assert assignments.next_for(project=project, user=make_user(project)) != back
    feedback.submit(assignment=first, by=judge_, winner="tie")
    assert Comparison.objects.filter(assignment=back).count() == 2
    assert project.audit.filter(action="judgement.sent back").exists()
    assert disagreements.waiting(project) == []


@pytest.mark.parametrize("comment", ["", "   ", "x" * 2001, "a\x00b"])
def test_sending_back_needs_a_comment_that_can_be_read(disputed, comment):
    _, _, said, reviewer = disputed
    with pytest.raises(Refused) as refused:
        adjudication.send_back(assignment=said[0], by=reviewer, comment=comment)
    assert list(refused.value.errors) == ["comment"]
    assert Comparison.objects.filter(status="counted").count() == 2


def test_what_cannot_be_sent_back(disputed):
    project, _, said, reviewer = disputed
    with pytest.raises(Refused) as role:
        adjudication.send_back(assignment=said[0], by=said[1].user, comment="Wrong.")
    assert role.value.status == 403
    adjudication.send_back(assignment=said[0], by=reviewer, comment="Once more.")
    with pytest.raises(Refused) as twice:
        adjudication.send_back(assignment=said[0], by=reviewer, comment="Once more.")
    assert twice.value.status == 409
    project.memberships.filter(user=said[1].user).delete()
    with pytest.raises(Refused) as gone:
        adjudication.send_back(assignment=said[1], by=reviewer, comment="Once more.")
    assert "no longer annotates here" in gone.value.errors["assignment"]


def test_a_place_that_was_sent_back_is_filled_exactly_once():
    project = make_project(asks_comparisons=False, overlap=2)
    make_completion(make_prompt(project))
    one, other, third = (make_user(project) for _ in range(3))
    back = judge(project, one, stars=1)
    judge(project, other, stars=5)
    adjudication.send_back(assignment=back, by=make_user(project, role="reviewer"), comment="Why one?")
    assert assignments.next_for(project=project, user=third) is None
    judge(project, one, stars=4)
    assert Rating.objects.counted().count() == 2
    assert assignments.next_for(project=project, user=third) is None


def test_a_reviewer_who_judged_it_as_a_known_item_does_not_decide_it(disputed):
    project, (a, b), _, reviewer = disputed
    known = {"project": project, "kind": "compare", "prompt": a.prompt, "completion_a": a, "completion_b": b}
    gold = GoldItem.objects.create(**known, expected={"winner": ["tie"]})
    make_assignment(reviewer, a, b, purpose="gold", gold=gold, state="submitted")
    with pytest.raises(Refused) as refused:
        adjudication.take(project=project, key=f"compare:{a.pk}:{b.pk}", by=reviewer)
    assert "You annotated this item" in refused.value.errors["item"]


def test_a_decision_that_ran_out_is_not_taken_up_beside_anothers(disputed):
    project, (a, b), _, reviewer = disputed
    key = f"compare:{a.pk}:{b.pk}"
    slow = adjudication.take(project=project, key=key, by=reviewer)
    Assignment.objects.filter(pk=slow.pk).update(expires_at=timezone.now() - timedelta(minutes=1))
    assignment_lifecycle.expire_stale(project)
    quick = make_user(project, role="reviewer")
    feedback.submit(assignment=adjudication.take(project=project, key=key, by=quick), by=quick, winner="tie")
    slow.refresh_from_db()
    with pytest.raises(Refused) as refused:
        assignment_lifecycle.again(assignment=slow, by=reviewer)
    assert refused.value.status == 409


def test_nothing_is_sent_back_to_somebody_who_is_paused(disputed):
    _, _, said, reviewer = disputed
    said[0].user.memberships.update(paused_at=timezone.now(), paused_reason="away")
    with pytest.raises(Refused) as refused:
        adjudication.send_back(assignment=said[0], by=reviewer, comment="Look again.")
    assert "paused" in refused.value.errors["assignment"]


def test_what_is_sent_back_is_told_to_programs_once(disputed):
    project, _, said, reviewer = disputed
    Webhook.objects.create(project=project, url="https://example.org/", events=["judgement.status"], secret="whsec_x")
    adjudication.send_back(assignment=said[0], by=reviewer, comment="Look again.")
    [told] = Delivery.objects.filter(event="judgement.status")
    assert [change["after"] for change in told.body["data"]["changes"]] == ["withdrawn"]


def test_a_decision_is_not_undone_by_the_way_on_the_judge_page(disputed):
    project, (a, b), _, reviewer = disputed
    taken = adjudication.take(project=project, key=f"compare:{a.pk}:{b.pk}", by=reviewer)
    feedback.submit(assignment=taken, by=reviewer, winner="tie")
    client = Client()
    client.force_login(reviewer)
    assert "undo-form" not in client.get(reverse("annotate", args=[project.slug])).content.decode()


def test_answers_that_were_written_are_no_answers_of_another_prompt(disputed):
    """The key of a written answer names its prompt, which is no completion."""
    project, (a, _), _, reviewer = disputed
    written = make_assignment(make_user(project), a, state="submitted")
    Assignment.objects.filter(pk=written.pk).update(kind="write", completion_a=None, item=f"write:{a.pk}")
    client = Client()
    client.force_login(reviewer)
    address = f"/api/v1/projects/{project.slug}/disagreements/write:{a.pk}/"
    assert client.get(address).status_code == 404
