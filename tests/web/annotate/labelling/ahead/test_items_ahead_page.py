"""The annotating page with its next items at hand: what it gets, what stands beside an item that it shows already, and
what is refused when it is sent."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.data.prompts import retirement
from annotate.labelling import actions as feedback
from annotate.labelling import assigning, handing_ahead
from annotate.labelling.gold import scoring as gold
from annotate.models import Assignment, Rating, ReservedPrompt, WorkPackage
from tests.support.annotate.items_ahead import give_to_another, make_answers, run_out, shown_and_ahead
from tests.support.factories import (
    make_completion,
    make_guideline,
    make_pair,
    make_project,
    make_prompt,
    make_user,
)

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}
MOST = handing_ahead.MOST_AHEAD


@pytest.fixture
def project():
    return make_project(asks_comparisons=False)


@pytest.fixture
def user(project, client):
    user = make_user(project)
    client.force_login(user)
    return user


def address(project, name: str = "annotate") -> str:
    return reverse(name, args=[project.slug])


def parts(response) -> list[int]:
    return [int(pk) for pk in re.findall(r'data-assignment="(\d+)"', response.content.decode())]


def drawn_as(client, project) -> str:
    return re.search(r'data-drawn-as="([^"]*)"', client.get(address(project)).content.decode())[1]


def go_on(client, project, done: Assignment, showing: Assignment, name: str = "annotate", **said):
    """Send an item as the page does that shows the next one already."""
    sent = {"assignment": done.pk, "showing": showing.pk, "drawn_as": drawn_as(client, project)}
    return client.post(address(project, name), {**sent, **(said or {"stars": "4"})}, headers=HTMX)


# --- the page ---


def test_the_page_says_where_to_ask_and_only_where_it_goes_on(client, project, user):
    make_answers(project, 2)
    html = client.get(address(project)).content.decode()
    assert f'data-ahead="{address(project, "annotate-ahead")}"' in html
    sent = {"assignment": parts(client.get(address(project)))[0], "stars": "4"}
    client.post(address(project), sent)
    earlier = client.get(reverse("annotate-edit", args=[project.slug, sent["assignment"]])).content.decode()
    assert "data-ahead" not in earlier


def test_the_page_gets_what_it_does_not_have_in_order_with_its_place_in_the_day(client, project, user):
    make_answers(project, 9)
    shown = assigning.next_for(project=project, user=user)
    reply = client.post(address(project, "annotate-ahead"), {"have": str(shown.pk)})
    html = reply.content.decode()
    ahead = list(Assignment.objects.filter(is_ahead=True).order_by("id").values_list("pk", flat=True))
    assert parts(reply) == ahead and len(ahead) == MOST and "<html" not in html
    assert re.findall(r"(\d) of 60 today", html) == ["2", "3", "4"]
    assert len(set(re.findall(r'name="idempotency_key" value="([^"]+)"', html))) == MOST
    have = " ".join(map(str, [shown.pk, *ahead[:-1]]))
    assert parts(client.post(address(project, "annotate-ahead"), {"have": have})) == ahead[-1:]


def test_items_of_a_package_are_numbered_by_their_prompts(client, project, user):
    package = WorkPackage.objects.create(project=project, name="Week 48")
    for state in ("done", "open", "open", "open"):
        prompt = make_prompt(project)
        for _ in range(2 if state == "open" else 0):
            make_completion(prompt)
        ReservedPrompt.objects.create(
            package=package, project=project, user=user, prompt=prompt, is_exclusive=False, state=state
        )
    shown = assigning.next_for(project=project, user=user)
    html = client.post(address(project, "annotate-ahead"), {"have": str(shown.pk)}).content.decode()
    ahead = Assignment.objects.filter(is_ahead=True).order_by("id").values_list("prompt", flat=True)
    numbers = {shown.prompt_id: 2}
    for prompt in ahead:
        numbers.setdefault(prompt, 2 + len(numbers))
    assert re.findall(r"prompt (\d) of 4 in Week 48", html) == [str(numbers[prompt]) for prompt in ahead]
    assert len(set(ahead)) > 1


def test_the_page_says_where_the_kind_changes(client):
    project = make_project()
    user = make_user(project)
    client.force_login(user)
    for _ in range(6):
        make_pair(project)
    for _ in range(4):
        shown = assigning.next_for(project=project, user=user, kind="rate")
        feedback.submit(assignment=shown, by=user, stars=3)
    shown = assigning.next_for(project=project, user=user)
    html = client.post(address(project, "annotate-ahead"), {"have": str(shown.pk)}).content.decode()
    assert re.findall(r'data-kind="(\w+)"', html) == ["compare"] * 3 and html.count("new kind of item") == 1


def test_the_page_gets_nothing_while_something_comes_first_and_closes_by_giving_back(client, project, user):
    make_answers(project, 5)
    _, ahead = shown_and_ahead(project, user)
    pks = " ".join(str(each.pk) for each in ahead)
    have = {"have": f"x {pks} 99999999999999999999"}
    assert client.post(address(project, "annotate-give-back"), have).status_code == 204
    assert set(Assignment.objects.values_list("state", flat=True)) == {"open", "expired"}
    make_guideline(project)
    assert client.post(address(project, "annotate-ahead"), {"have": ""}).status_code == 204


@pytest.mark.parametrize("name", ["annotate-ahead", "annotate-give-back"])
def test_who_may_not_annotate_is_lent_nothing(client, project, name):
    make_answers(project, 2)
    client.force_login(make_user())
    assert client.post(address(project, name), {"have": ""}).status_code == 403
    assert client.get(address(project, name)).status_code == 405


# --- showing what waited ---


def test_a_page_that_has_gone_on_gets_what_stands_beside_its_item(client, project, user):
    make_answers(project, 5)
    shown, ahead = shown_and_ahead(project, user)
    before = timezone.now()
    reply = go_on(client, project, shown, ahead[0])
    html = reply.content.decode()
    assert reply.status_code == 200 and reply["HX-Reswap"] == "none" and 'id="task"' not in html
    assert "1 done today" in html and "Sent: 4 of 5 stars" in html and "2 of 60 today" in html
    assert f'name="assignment" value="{shown.pk}"' in html, "the one to undo"
    ahead[0].refresh_from_db()
    assert not ahead[0].is_ahead and ahead[0].created_at >= before
    assert ahead[0].expires_at > before + timedelta(minutes=project.assignment_minutes - 1)


def test_an_item_is_in_hand_since_it_was_shown_and_not_since_the_server_heard_of_it(client, project, user):
    make_answers(project, 6)
    shown, ahead = shown_and_ahead(project, user)
    Assignment.objects.update(created_at=timezone.now() - timedelta(minutes=2))
    go_on(client, project, shown, ahead[0], stars="4", shown_for="60")
    go_on(client, project, ahead[0], ahead[1], stars="4", seconds="70", shown_for="3600")
    assert 60 <= Rating.objects.get(assignment=ahead[0]).seconds < 70
    ahead[1].refresh_from_db()
    assert ahead[1].created_at < timezone.now() - timedelta(minutes=2), "never before it was handed out"


def test_the_days_goal_is_said_beside_the_next_item(client, project, user):
    type(project).objects.update(daily_goal=1)
    make_answers(project, 3)
    shown, ahead = shown_and_ahead(project, user)
    assert "You have reached today’s goal: 1" in go_on(client, project, shown, ahead[0]).content.decode()


def test_a_skip_goes_on_in_the_same_way(client, project, user):
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    reply = go_on(client, project, shown, ahead[0], "annotate-skip", reason="I cannot judge this")
    assert reply["HX-Reswap"] == "none" and "Skipped: I cannot judge this" in reply.content.decode()


def test_an_item_that_ran_out_unseen_is_taken_up_while_its_place_is_free(client, project, user):
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    run_out(ahead[0])
    assert go_on(client, project, shown, ahead[0])["HX-Reswap"] == "none"
    ahead[0].refresh_from_db()
    assert (ahead[0].state, ahead[0].is_ahead) == ("open", False)


def retire_its_prompt(project, user, waiting) -> None:
    retirement.retire(waiting.prompt, "broken", None)


def stop_asking_for_its_kind(project, user, waiting) -> None:
    type(project).objects.update(asks_ratings=False, asks_answers=True)


@pytest.mark.parametrize("change", [give_to_another, retire_its_prompt, stop_asking_for_its_kind])
def test_an_item_that_may_no_longer_be_worked_on_is_replaced(client, project, user, change):
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    drawn = drawn_as(client, project)
    change(project, user, ahead[0])
    sent = {"assignment": shown.pk, "stars": "4", "showing": ahead[0].pk, "drawn_as": drawn}
    reply = client.post(address(project), sent, headers=HTMX)
    assert "HX-Reswap" not in reply and "Sent: 4 of 5 stars" in reply.content.decode()
    assert parts(reply) and parts(reply) != [ahead[0].pk]


@pytest.mark.parametrize("reason", ["guidelines", "a message", "a pause"])
def test_what_comes_before_the_next_item_comes_before_one_that_waited(client, project, user, reason):
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    if reason == "guidelines":
        make_guideline(project)
    elif reason == "a message":
        project.memberships.update(notice="Please take more time.")
    sent = {"assignment": shown.pk, "stars": "4", "showing": ahead[0].pk}
    if reason == "a pause":
        gold.pause(project=project, user=user, by=None, reason="A break.")
        assert client.post(address(project), sent, headers=HTMX).status_code == 403
        assert not Rating.objects.exists()
        return
    assert client.post(address(project), sent, headers=HTMX)["HX-Redirect"] == address(project, "reading")
    ahead[0].refresh_from_db()
    assert ahead[0].is_ahead and Rating.objects.count() == 1


def test_an_item_that_was_drawn_under_other_guidelines_is_drawn_anew(client, project, user):
    type(project).objects.update(must_read_guidelines=False)
    make_answers(project, 4)
    shown, ahead = shown_and_ahead(project, user)
    drawn = drawn_as(client, project)
    make_guideline(project, "Prefer the short one.")
    sent = {"assignment": shown.pk, "stars": "4", "showing": ahead[0].pk, "drawn_as": drawn}
    reply = client.post(address(project), sent, headers=HTMX)
    assert "HX-Reswap" not in reply and parts(reply) == [ahead[0].pk]
    assert "Prefer the short one." in reply.content.decode()
    feedback.submit(assignment=Assignment.objects.get(pk=ahead[0].pk), by=user, stars=2)
    assert Rating.objects.get(assignment=ahead[0]).guideline_version == 1


def test_a_page_shows_nobody_elses_item(client, project, user):
    make_answers(project, 6)
    shown, _ = shown_and_ahead(project, user)
    _, theirs = shown_and_ahead(project, make_user(project))
    reply = go_on(client, project, shown, theirs[0])
    assert "HX-Reswap" not in reply and theirs[0].pk not in parts(reply)
    theirs[0].refresh_from_db()
    assert theirs[0].is_ahead


# --- what was annotated without a connection ---


def test_what_was_annotated_before_the_server_knew_that_it_is_shown_counts_once(client, project, user):
    make_answers(project, 5)
    _, ahead = shown_and_ahead(project, user)
    sent = {"assignment": ahead[0].pk, "stars": "4", "idempotency_key": "k-1", "seconds": "2.5"}
    Assignment.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    for _ in range(2):
        assert client.post(address(project), sent, headers=HTMX).status_code == 200
    assert [(row.stars, row.seconds, row.status) for row in Rating.objects.all()] == [(4, 2.5, "counted")]
    ahead[0].refresh_from_db()
    assert (ahead[0].state, ahead[0].is_ahead) == ("submitted", False)


def test_what_was_annotated_after_its_minutes_counts_while_its_place_is_free(client, project, user):
    make_answers(project, 4)
    _, ahead = shown_and_ahead(project, user)
    run_out(*ahead)
    assert client.post(address(project), {"assignment": ahead[0].pk, "stars": "4"}, headers=HTMX).status_code == 200
    give_to_another(project, user, ahead[1])
    reply = client.post(address(project), {"assignment": ahead[1].pk, "stars": "4"}, headers=HTMX)
    assert reply.status_code == 409 and "Somebody else has this item now" in reply.content.decode()
    assert Rating.objects.count() == 1


def test_a_retired_prompt_and_a_member_who_left_are_refused_when_it_is_sent(client, project, user):
    make_answers(project, 4)
    _, ahead = shown_and_ahead(project, user)
    retirement.retire(ahead[0].prompt, "broken", None)
    reply = client.post(address(project), {"assignment": ahead[0].pk, "stars": "4"}, headers=HTMX)
    assert reply.status_code == 409 and "Its prompt was retired" in reply.content.decode()
    project.memberships.filter(user=user).delete()
    with pytest.raises(Refused):
        feedback.submit(assignment=ahead[1], by=user, stars=4)
    assert not Rating.objects.exists()


def test_undo_of_what_had_waited_brings_it_back_before_all_others(client, project, user):
    make_answers(project, 5)
    shown, ahead = shown_and_ahead(project, user)
    go_on(client, project, shown, ahead[0])
    go_on(client, project, ahead[0], ahead[1])
    reply = client.post(address(project, "annotate-undo"), {"assignment": ahead[0].pk}, headers=HTMX)
    assert parts(reply) == [ahead[0].pk]
    following = client.post(address(project, "annotate-ahead"), {"have": str(ahead[0].pk)})
    assert parts(following)[:2] == [ahead[1].pk, ahead[2].pk]
