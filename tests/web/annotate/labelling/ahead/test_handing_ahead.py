"""Items handed out ahead: fair to everybody else, unseen until they are shown, and as strict as any other then."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from annotate.labelling import actions as feedback
from annotate.labelling import assigning, handing_ahead
from annotate.labelling.gold import scoring as gold
from annotate.labelling.prerequisites.actions import NotYet
from annotate.labelling.queue import entries as queue
from annotate.models import Assignment, GoldItem, HarmBudget, QueueEntry, SideCount
from annotate.projects.wellbeing import actions as harm_budget
from tests.support.annotate.items_ahead import make_answers, run_out, shown_and_ahead
from tests.support.factories import make_completion, make_guideline, make_pair, make_project, make_prompt, make_user

pytestmark = pytest.mark.django_db
MOST = handing_ahead.MOST_AHEAD


@pytest.fixture
def project():
    return make_project(asks_comparisons=False)


def test_a_few_items_are_handed_out_ahead_and_lent_for_minutes_only(project, user):
    make_answers(project, 9)
    _, ahead = shown_and_ahead(project, user)
    assert len(ahead) == MOST
    limit = timezone.now() + handing_ahead.LENT_FOR
    assert all(each.expires_at <= limit for each in Assignment.objects.filter(is_ahead=True))


def test_asking_again_hands_out_no_more_and_lends_what_waits_anew(project, user):
    make_answers(project, 9)
    _, ahead = shown_and_ahead(project, user)
    soon = timezone.now() + timedelta(seconds=5)
    Assignment.objects.filter(is_ahead=True).update(expires_at=soon)
    assert handing_ahead.hand_ahead(project=project, user=user)[1:] == ahead
    assert Assignment.objects.count() == 1 + MOST
    assert all(each.expires_at > soon for each in Assignment.objects.filter(is_ahead=True))


def test_what_waits_fills_places_so_that_overlap_is_never_exceeded(project, user):
    make_answers(project, 6)
    shown_and_ahead(project, user)
    other = make_user(project)
    theirs = [assigning.next_for(project=project, user=other)]
    theirs += handing_ahead.hand_ahead(project=project, user=other)[1:]
    items = [each.item for each in Assignment.objects.all()]
    assert len(items) == len(set(items)) == 6 and len(theirs) == 2


def test_what_waits_in_a_browser_goes_to_whoever_asks_when_nothing_else_is_left(project, user):
    make_answers(project, 1 + MOST)
    shown, ahead = shown_and_ahead(project, user)
    other = make_user(project)
    got = assigning.next_for(project=project, user=other)
    assert got.item in {each.item for each in ahead}
    assert handing_ahead.hand_ahead(project=project, user=other)[1:] == [], "only for who needs one now"
    shown.refresh_from_db()
    assert shown.state == "open", "what somebody is shown stays theirs"


def test_an_item_whose_few_minutes_are_over_goes_to_others_or_first_to_the_same_person(project, user):
    make_answers(project, 3)
    shown, ahead = shown_and_ahead(project, user)
    run_out(*ahead)
    feedback.submit(assignment=shown, by=user, stars=3)
    taken = assigning.next_for(project=project, user=make_user(project))
    assert taken.item in {each.item for each in ahead}
    again = assigning.next_for(project=project, user=user)
    assert again in ahead and again.item != taken.item and not again.is_ahead
    feedback.submit(assignment=again, by=user, stars=3)
    assert assigning.next_for(project=project, user=user) is None


def test_what_is_given_back_was_not_seen_and_is_free_at_once(project, user):
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    pks = [shown.pk, *(each.pk for each in ahead)]
    assert handing_ahead.give_back(project=project, user=make_user(project), pks=pks) == 0
    assert handing_ahead.give_back(project=project, user=user, pks=pks) == MOST
    shown.refresh_from_db()
    assert shown.state == "open"
    other = make_user(project)
    assert assigning.next_for(project=project, user=other).item in {each.item for each in ahead}
    _, again = shown_and_ahead(project, user)
    assert {each.pk for each in again} < {each.pk for each in ahead} and len(again) == MOST - 1


def test_what_is_given_back_leaves_the_queue_as_it_was(project, user):
    make_answers(project, 6)
    assigning.next_for(project=project, user=user)
    levels = set(queued := QueueEntry.objects.values_list("prompt", "kind", "level"))
    held = handing_ahead.hand_ahead(project=project, user=user)
    assert set(queued.all()) != levels
    handing_ahead.give_back(project=project, user=user, pks=[each.pk for each in held])
    queue.take_in(project, ())
    assert set(queued.all()) == levels


def test_gold_items_that_were_not_shown_come_again(user):
    project = make_project(asks_ratings=False, gold_percent=100)
    for _ in range(6):
        make_pair(project)
    for _ in range(2):
        a, b = make_pair(project)
        said = {"kind": "compare", "prompt": a.prompt, "expected": {"winner": ["model_a"]}}
        GoldItem.objects.create(project=project, completion_a=a, completion_b=b, **said)
    user = make_user(project)
    _, ahead = shown_and_ahead(project, user)
    assert [each.purpose for each in ahead] == ["gold", "work", "work"]
    handing_ahead.give_back(project=project, user=user, pks=[each.pk for each in ahead])
    assert gold.draw(project, user, "compare") is None
    assert shown_and_ahead(project, user)[1] == ahead


def test_sides_are_counted_back_when_the_place_of_an_unseen_pair_is_taken():
    project = make_project(asks_ratings=False)
    for _ in range(2):
        make_pair(project)
    user = make_user(project)
    _, [waiting] = shown_and_ahead(project, user)
    handing_ahead.give_back(project=project, user=user, pks=[waiting.pk])
    assert assigning.next_for(project=project, user=make_user(project)).item == waiting.item
    count = SideCount.objects.filter(user=user, first=min(waiting.completion_a.model_id, waiting.completion_b.model_id))
    assert abs(count.get().lead) == 1
    assert handing_ahead.hand_ahead(project=project, user=user)[1:] == []
    assert count.get().lead == 0


def test_what_is_about_harm_is_never_handed_out_ahead(project, user):
    HarmBudget.objects.create(user=user, opted_out=[], daily_cap=2)
    make_answers(project, 1)
    shown = assigning.next_for(project=project, user=user)
    for _ in range(3):
        make_completion(make_prompt(project, harm="violence"))
    assert handing_ahead.hand_ahead(project=project, user=user) == [shown]
    assert harm_budget.standing(user).seen_today == 0 and Assignment.objects.count() == 1
    feedback.submit(assignment=shown, by=user, stars=3)
    assert assigning.next_for(project=project, user=user).prompt.harm == "violence"


def test_nothing_is_handed_out_ahead_of_what_comes_first(project, user):
    make_answers(project, 5)
    shown_and_ahead(project, user)
    make_guideline(project)
    with pytest.raises(NotYet):
        handing_ahead.hand_ahead(project=project, user=user)
    project.memberships.update(guideline_read=1, paused_at=timezone.now(), paused_reason="A break.")
    with pytest.raises(NotYet):
        handing_ahead.hand_ahead(project=project, user=user)


def test_an_unseen_item_that_is_asked_for_is_handed_over_after_its_prerequisites(project, user):
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    feedback.submit(assignment=shown, by=user, stars=3)
    make_guideline(project)
    with pytest.raises(NotYet):
        assigning.next_for(project=project, user=user)
    project.memberships.update(guideline_read=1)
    before = timezone.now()
    assert assigning.next_for(project=project, user=user) == ahead[0]
    ahead[0].refresh_from_db()
    assert not ahead[0].is_ahead and ahead[0].created_at >= before
    assert ahead[0].expires_at > before + timedelta(minutes=project.assignment_minutes - 1)


def test_kinds_keep_their_turns(user):
    project = make_project(asks_ratings=True, asks_comparisons=True)
    for _ in range(12):
        make_pair(project)
    user, kinds = make_user(project), []
    for _ in range(15):
        shown, _ = shown_and_ahead(project, user)
        kinds.append(shown.kind)
        feedback.submit(assignment=shown, by=user, **({"stars": 3} if shown.kind == "rate" else {"winner": "tie"}))
    assert kinds == ["rate"] * 5 + ["compare"] * 5 + ["rate"] * 5
