"""What a person can bear holds wherever work is handed out: queue, urgent, uncertain, known and repeated items."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.labelling import assignment_lifecycle
from annotate.labelling.gold import scoring as gold
from annotate.labelling.queue import entries, priorities
from annotate.labelling.queue import swapped_repeats as repeats
from annotate.labelling.queue.urgent_items import UrgentPair, choose_urgent
from annotate.labelling.tutorial import actions as tutorial
from annotate.models import Assignment, GoldItem, ItemPriority
from annotate.projects.wellbeing import actions as harm_budget
from common.harm_kinds import HARMS
from tests.support.factories import (
    make_assignment,
    make_comparison,
    make_completion,
    make_project,
    make_prompt,
    make_user,
)
from tests.web.annotate.red_team.test_red_team import ready

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    return make_project(asks_ratings=False)


@pytest.fixture
def eve(project):
    return make_user(project)


def pair(project, harm="", **fields):
    prompt = make_prompt(project, harm=harm, **fields)
    return make_completion(prompt), make_completion(prompt)


def next_of(project, user) -> Assignment | None:
    return assignments.next_for(project=project, user=user)


def page(project, user) -> str:
    client = Client()
    client.force_login(user)
    return client.get(reverse("annotate", args=[project.slug])).content.decode()


def test_who_has_said_nothing_is_handed_nothing_harmful_and_told_why(project, eve):
    pair(project, "fraud")
    assert next_of(project, eve) is None
    html = page(project, eve)
    assert "Nothing else for you just now" in html and "not chosen yet" in html and reverse("harm") in html


def test_harmless_items_go_on_meanwhile(project, eve):
    pair(project, "fraud")
    harmless, _ = pair(project)
    assert next_of(project, eve).prompt == harmless.prompt


def test_only_kinds_that_one_accepts(project, eve):
    pair(project, "weapons")
    fraud, _ = pair(project, "fraud")
    ready(eve, accepted=["fraud"])
    assignment = next_of(project, eve)
    assert assignment.prompt == fraud.prompt
    assignment_lifecycle.skip(assignment=assignment, by=eve, reason="no")
    assert next_of(project, eve) is None and "opted out" in page(project, eve)


def test_of_several_kinds_one_accepts_all_or_gets_nothing(project, eve):
    both, _ = pair(project, "theft fraud")
    for accepted in (["fraud"], ["theft"], ["hate"]):
        assert next_of(project, ready(eve, accepted=accepted)) is None
    ready(eve, accepted=["theft", "fraud"])
    assignment = next_of(project, eve)
    assert assignment.prompt == both.prompt
    ready(eve, accepted=["theft"])
    assignment.refresh_from_db()
    assert assignment.state == "expired"


def test_no_kind_is_part_of_anothers_name_so_that_a_search_for_one_finds_no_other():
    assert not [(a, b) for a in HARMS for b in HARMS if a != b and a in b]


def test_who_is_withheld_something_is_not_told_that_others_hold_it(project, eve):
    for _ in range(2):
        pair(project, "fraud")
    assert next_of(project, ready(make_user(project))) is not None
    assert "Nothing else for you" in page(project, eve)


def test_a_wrong_number_changes_no_other_choice(client, project):
    client.force_login(ready(make_user(project), blur=False))
    response = client.post(reverse("harm"), {"accepted": "fraud", "blur": "on", "daily_cap": "9999"})
    assert response.status_code == 400 and 'name="blur" checked' in response.content.decode()


def test_ones_history_shows_no_harm_before_it_is_asked_for(project, eve):
    a, _ = pair(project, "fraud")
    assignment = next_of(project, ready(eve))
    feedback.submit(assignment=assignment, by=eve, winner="tie")
    client = Client()
    client.force_login(eve)
    html = client.get(reverse("annotate-history", args=[project.slug])).content.decode()
    assert html.index("<details") < html.index(a.prompt.text) and "fraud" in html.lower()


def test_the_cap_ends_it_for_today_and_not_the_harmless(project, eve):
    ready(eve, daily_cap=1)
    for _ in range(2):
        pair(project, "fraud")
    assignment_lifecycle.skip(assignment=next_of(project, eve), by=eve, reason="no")
    assert next_of(project, eve) is None and "your limit" in page(project, eve)
    harmless, _ = pair(project)
    assert next_of(project, eve).prompt == harmless.prompt


def test_a_break_holds_what_harms_for_its_minutes(project, eve):
    ready(eve, break_after=1, break_minutes=10)
    for _ in range(2):
        pair(project, "fraud")
    assignment_lifecycle.skip(assignment=next_of(project, eve), by=eve, reason="no")
    assert next_of(project, eve) is None and "break" in page(project, eve)
    Assignment.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert next_of(project, eve) is not None


def test_a_simulation_bears_everything(project):
    pair(project, "fraud")
    assert next_of(project, make_user(project, is_simulated=True)) is not None


@pytest.mark.parametrize("accepts", [[], ["fraud"]])
def test_urgent_items_are_no_exception(project, eve, accepts):
    a, b = pair(project, "fraud")
    ready(eve, accepted=accepts)
    urgent = [UrgentPair(a.prompt_id, (a.pk, b.pk), is_open=True)]
    item = choose_urgent(pairs=urgent, project=project, user=eve)
    assert (item is not None) == bool(accepts)


@pytest.mark.parametrize("accepts", [[], ["fraud"]])
def test_uncertain_items_are_no_exception(project, eve, accepts, monkeypatch):
    monkeypatch.setattr(priorities, "COVERAGE_SHARE", 0)
    a, b = pair(project, "fraud")
    make_user(project)
    entries.recount(project)
    key = f"compare:{a.pk}:{b.pk}"
    row = {"project": project, "prompt": a.prompt, "kind": "compare", "uncertainty": 1.0, "why": "unsure"}
    ItemPriority.objects.create(item=key, **row)
    ready(eve, accepted=accepts)
    assert (priorities.choose_uncertain(project, eve, "compare") is not None) == bool(accepts)


@pytest.mark.parametrize("accepts", [[], ["fraud"]])
def test_known_answers_and_lessons_are_no_exception(project, eve, accepts):
    for is_tutorial in (False, True):
        a, b = pair(project, "fraud")
        known = {"project": project, "kind": "compare", "prompt": a.prompt, "completion_a": a, "completion_b": b}
        GoldItem.objects.create(**known, expected={"winner": ["model_a"]}, is_tutorial=is_tutorial)
    ready(eve, accepted=accepts)
    assert (gold.draw(project, eve, "compare") is not None) == bool(accepts)
    assert (tutorial.next_lesson(project=project, user=eve) is not None) == bool(accepts)


@pytest.mark.parametrize("accepts", [[], ["fraud"]])
def test_repeats_are_no_exception(project, eve, accepts):
    long_ago = {"state": "submitted", "closed_at": timezone.now() - timedelta(hours=1)}
    a, b = pair(project, "fraud")
    make_comparison(a, b, author=eve, assignment=make_assignment(eve, a, b, **long_ago))
    for _ in range(repeats.ITEMS_BETWEEN):
        make_assignment(eve, *pair(project), **long_ago)
    Assignment.objects.update(created_at=timezone.now() - timedelta(hours=2))
    ready(eve, accepted=accepts)
    assert (repeats.draw(project, eve) is not None) == bool(accepts)


def test_who_opts_out_holds_it_no_longer(project, eve):
    pair(project, "fraud")
    ready(eve)
    held = next_of(project, eve)
    ready(eve, accepted=["weapons"])
    held.refresh_from_db()
    assert held.state == "expired" and next_of(project, eve) is None
    assert next_of(project, ready(make_user(project))).prompt == held.prompt


def test_a_project_without_harm_asks_one_question_for_it(project, eve, django_assert_num_queries):
    pair(project)
    with django_assert_num_queries(1):
        harm_budget.within(GoldItem.objects.none(), project, eve)


def test_an_item_about_harm_is_shut_until_asked_for(project, eve):
    a, _ = pair(project, "fraud")
    ready(eve)
    html = page(project, eve)
    veil = html.index('<details class="veil">')
    assert veil < html.index(a.prompt.text) < html.index(a.text) < html.index("</details>", html.index(a.text))
    assert "Fraud &amp; deception" in html


def test_it_stands_open_for_whom_nothing_is_blurred_and_where_nothing_is_harmful(project, eve):
    pair(project, "fraud")
    ready(eve, blur=False)
    assert 'class="veil"' not in page(project, eve)
    other = make_project(asks_ratings=False)
    pair(other)
    other.memberships.create(user=eve)
    ready(eve)
    assert 'class="veil"' not in page(other, eve)
