"""The workplace through the real client, with and without htmx: what is shown, sent, kept and refused."""

from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.labelling.forms.verdicts import VERDICTS
from annotate.models import (
    Assignment,
    Comparison,
    Demonstration,
    Flag,
    Membership,
    Rating,
    ReservedPrompt,
    Scale,
    WorkPackage,
)
from annotate.projects.next_step import checklist
from tests.support.factories import (
    make_assignment,
    make_completion,
    make_guideline,
    make_model,
    make_pair,
    make_project,
    make_prompt,
    make_user,
)

pytestmark = pytest.mark.django_db
HTMX = {"HX-Request": "true"}


@pytest.fixture
def user(project, client):
    user = make_user(project)
    client.force_login(user)
    return user


def address(project, name: str = "annotate") -> str:
    return reverse(name, args=[project.slug])


def hidden(response, name: str) -> str:
    return re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())[1]


def opened(client, project, **said) -> dict:
    """What the browser would send from the page as it stands now."""
    page = client.get(address(project))
    return {name: hidden(page, name) for name in ("idempotency_key", "shown_at")} | {
        "assignment": re.search(r'data-assignment="(\d+)"', page.content.decode())[1],
        **said,
    }


def test_a_visitor_is_asked_to_sign_in(client, project):
    assert client.get(address(project)).url == f"{reverse('login')}?next={address(project)}"


def test_who_is_no_judge_is_told_which_role_is_needed(client, project):
    client.force_login(make_user())
    response = client.get(address(project))
    assert response.status_code == 403
    assert "annotator or manager or" in response.content.decode()


def test_a_private_project_does_not_exist_for_others(client):
    client.force_login(make_user())
    assert client.get(address(make_project(is_public=False))).status_code == 404


def test_comparing_by_plain_forms(client, project, user):
    make_assignment(user, *make_pair(project))
    response = client.post(address(project), opened(client, project, choice="model_b:2", comment="Clearer."))
    assert response.status_code == 302 and response.url == address(project)
    row = Comparison.objects.get()
    assert (row.winner, row.strength, row.comment) == ("model_b", 2, "Clearer.")
    assert 0 <= row.seconds < 60


def test_every_winner_and_strength_that_may_be_stored_is_offered_with_a_key(client, project, user):
    make_assignment(user, *make_pair(project))
    html = client.get(address(project)).content.decode()
    for verdict in VERDICTS:
        assert f'value="{verdict.value}" data-action="{verdict.action}"' in html
    assert len(VERDICTS) == 2 * 3 + 2 and "A is slightly better" in html
    client.post(address(project), opened(client, project, choice="model_a:1"))
    row = Comparison.objects.get()
    assert (row.winner, row.strength) == ("model_a", 1)


def test_a_choice_is_sent_at_once_where_it_is_all_that_is_asked(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    assert "data-at-once" not in client.get(address(project)).content.decode()  # thumbs and stars
    Scale.objects.create(project=project, kind="stars", name="overall", title="Overall")
    assert "data-at-once" in client.get(address(project)).content.decode()
    Scale.objects.create(project=project, kind="span", name="untrue", title="Untrue")
    assert "data-at-once" not in client.get(address(project)).content.decode()


def test_rating_by_plain_forms(client, project, user):
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    Assignment.objects.update(created_at=assignment.created_at - timedelta(minutes=1))
    client.post(address(project), opened(client, project, thumbs="down", stars="2", seconds="7.25"))
    row = Rating.objects.get()
    assert (row.thumbs, row.stars, row.seconds) == (False, 2, 7.25)


@pytest.mark.parametrize("way", ["refused", "undone", "changed"])
def test_whoever_corrects_an_annotation_is_timed_from_where_they_were(client, project, user, way):
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    Assignment.objects.update(created_at=assignment.created_at - timedelta(minutes=5))
    sent = opened(client, project, seconds="120") | ({} if way == "refused" else {"stars": "2"})
    page = client.post(address(project), sent)
    if way == "undone":
        client.post(address(project, "annotate-undo"), {"assignment": assignment.pk})
    if way != "refused":
        names = [project.slug, assignment.pk] if way == "changed" else [project.slug]
        page = client.get(reverse("annotate-edit" if way == "changed" else "annotate", args=names))
    assert 'data-seconds="120.00"' in page.content.decode()  # for the page's script
    shown_at = float(hidden(page, "shown_at"))  # and without it
    assert 119 < time.time() - shown_at < 180


def test_editing_an_answer(client, project, user):
    assignment = make_assignment(user, *make_pair(project))
    client.post(address(project), opened(client, project, choice="tie", text="Line one.\r\nLine two.", edited_from="b"))
    answer = Demonstration.objects.get()
    assert (answer.text, answer.edited_from) == ("Line one.\nLine two.", assignment.completion_b)
    assert Comparison.objects.get().winner == "tie"


def test_after_a_submit_htmx_gets_the_next_item_at_once(client, project, user):
    make_assignment(user, make_completion(make_prompt(project), "first"))
    following = make_assignment(user, make_completion(make_prompt(project), "second"))
    response = client.post(address(project), opened(client, project, stars="5"), headers=HTMX)
    html = response.content.decode()
    assert response.status_code == 200 and "<html" not in html
    assert f'data-assignment="{following.pk}"' in html and "second" in html
    assert "1 done today, 59 to go" in html and 'hx-swap-oob="true"' in html


def test_what_was_sent_is_said_with_undo_and_stays_in_the_page(client, project, user):
    first = make_assignment(user, *make_pair(project))
    make_assignment(user, *make_pair(project))
    assert 'id="sent"' in client.get(address(project)).content.decode()
    html = client.post(address(project), opened(client, project, choice="model_a:2"), headers=HTMX).content.decode()
    line = re.search(r'<div id="sent" hx-swap-oob="innerHTML">(.*?)</div>', html)[1]
    assert "Sent: A is better" in line and 'form="undo-form"' in line
    html = client.post(address(project, "annotate-undo"), {"assignment": first.pk}, headers=HTMX).content.decode()
    assert '<div id="sent" hx-swap-oob="innerHTML"></div>' in html


def test_without_javascript_what_was_sent_stands_on_the_next_page(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    html = client.post(address(project), opened(client, project, stars="4"), follow=True).content.decode()
    assert "Sent: 4 of 5 stars." in html


def test_the_task_is_named_with_its_place_in_the_day(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)), state="submitted", closed_at=timezone.now())
    make_assignment(user, *make_pair(project))
    html = client.get(address(project)).content.decode()
    named = r'<h1[^>]*>Compare two answers</h1> <span class="position" id="position">· 2 of 60 today'
    assert re.search(named, html)
    assert "new kind of item" in html  # it was a rating before


def test_the_task_is_named_with_its_place_in_a_package(client, project, user):
    prompts = [make_prompt(project) for _ in range(3)]
    package = WorkPackage.objects.create(project=project, name="Week 48")
    for prompt, state in zip(prompts, ("done", "open", "open"), strict=True):
        ReservedPrompt.objects.create(
            package=package, project=project, user=user, prompt=prompt, is_exclusive=False, state=state
        )
    make_assignment(user, make_completion(prompts[1]))
    assert "· prompt 2 of 3 in Week 48, 2 left" in client.get(address(project)).content.decode()


def test_the_day_s_goal_is_a_moment_of_its_own(client, project, user):
    type(project).objects.filter(pk=project.pk).update(daily_goal=1)
    for _ in range(2):
        make_assignment(user, make_completion(make_prompt(project)))
    html = client.post(address(project), opened(client, project, stars="4"), headers=HTMX).content.decode()
    assert "You have reached today’s goal: 1." in html
    assert "You have reached today’s goal" not in client.get(address(project)).content.decode()
    html = client.post(address(project), opened(client, project, stars="4"), headers=HTMX).content.decode()
    assert "You have reached today’s goal" not in html and "2 today" in html


@pytest.mark.parametrize(("goal", "done"), [(0, 0), (1, 1)])
@pytest.mark.parametrize("headers", [HTMX, {}])
def test_a_skip_reaches_no_goal(client, project, user, goal, done, headers):
    type(project).objects.filter(pk=project.pk).update(daily_goal=goal)
    for _ in range(2):
        make_assignment(user, make_completion(make_prompt(project)))
    for _ in range(done):
        client.post(address(project), opened(client, project, stars="4"), headers=HTMX)
    sent = opened(client, project, reason="I cannot judge this")
    html = client.post(address(project, "annotate-skip"), sent, headers=headers, follow=True).content.decode()
    assert "Skipped: I cannot judge this" in html and "You have reached today’s goal" not in html


def test_a_double_submit_gets_the_first_answer(client, project, user):
    make_assignment(user, *make_pair(project))
    sent = opened(client, project, choice="model_a:3")
    assert [client.post(address(project), sent).status_code for _ in range(2)] == [302, 302]
    assert Comparison.objects.count() == 1


def test_nothing_that_the_page_receives_names_a_model(client, project, user):
    model = make_model(name="very-secret-model-name", stage="secret-stage", folder="secret/folder")
    prompt = make_prompt(project)
    first, second = make_completion(prompt, model=model), make_completion(prompt, model=model)
    make_assignment(user, first, second)
    page = client.get(address(project))
    reply = client.post(address(project), opened(client, project, choice="tie"), headers=HTMX)
    for html in (page.content.decode(), reply.content.decode()):
        assert "secret" not in html


def test_hostile_answers_and_guidelines_do_nothing(client, project, user):
    make_guideline(project, "Be *kind*. <script>alert(1)</script> [x](javascript:alert(2)) ![i](http://spy/i.png)")
    make_assignment(user, make_completion(make_prompt(project, "<b>why</b>"), "<img src=x onerror=alert(3)>"))
    html = client.get(address(project)).content.decode()
    assert "<em>kind</em>" in html
    assert "<script>alert" not in html and 'href="javascript' not in html and "<img" not in html
    assert "&lt;img src=x onerror=alert(3)&gt;" in html and "&lt;b&gt;why&lt;/b&gt;" in html


def test_the_goal_and_the_progress_are_shown(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)), state="submitted", closed_at=timezone.now())
    yesterday = timezone.now() - timedelta(days=1)
    make_assignment(user, make_completion(make_prompt(project)), state="submitted", closed_at=yesterday)
    nothing_left = client.get(address(project)).content.decode()
    assert "1 done today" in nothing_left and "to go" not in nothing_left, "nobody can go on without an item"
    make_completion(make_prompt(project))
    assert "1 done today, 59 to go" in client.get(address(project)).content.decode()


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"stars": "6"}, "whole number from 1 to 5"),
        ({"stars": "many"}, "whole number from 1 to 5"),
        ({"thumbs": "sideways"}, "neither true (up) nor false (down)"),
        ({"choice": "model_a:3"}, "one answer to rate"),
        ({}, "Rate the answer"),
    ],
)
@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_refused_rating_says_why_and_keeps_the_words(client, project, user, said, text, headers):
    make_assignment(user, make_completion(make_prompt(project)))
    sent = opened(client, project, comment="My long thoughts.", **said)
    response = client.post(address(project), sent, headers=headers)
    html = response.content.decode()
    assert response.status_code == 400
    assert text in html and "My long thoughts." in html
    assert not Rating.objects.exists()


def test_an_unknown_winner_is_refused(client, project, user):
    make_assignment(user, *make_pair(project))
    response = client.post(address(project), opened(client, project, choice="model_c:1"))
    assert response.status_code == 400
    assert "use one of model_a, model_b, tie, both_bad" in response.content.decode()


def test_what_comes_after_the_time_ran_out_is_taken_while_the_place_is_free(client, project, user):
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    sent = opened(client, project, stars="4", text="My own answer.")
    Assignment.objects.update(expires_at=timezone.now())
    assert client.post(address(project), sent).status_code == 302
    assert Rating.objects.get().assignment == assignment
    assert Demonstration.objects.get().text == "My own answer."


def test_an_expired_item_that_went_to_someone_else_keeps_the_words(client, project, user):
    completion = make_completion(make_prompt(project))
    make_assignment(user, completion)
    sent = opened(client, project, stars="4", comment="My words.")
    Assignment.objects.update(state="expired", expires_at=timezone.now())
    make_assignment(make_user(project), completion)
    response = client.post(address(project), sent)
    assert response.status_code == 409
    assert "My words." in response.content.decode() and not Rating.objects.exists()


def test_a_skip_that_comes_too_late_counts_all_the_same(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    sent = opened(client, project, reason="I cannot judge this")
    Assignment.objects.update(expires_at=timezone.now())
    assert client.post(address(project, "annotate-skip"), sent).status_code == 302
    assert Assignment.objects.get().state == "skipped"


def test_an_item_does_not_run_out_while_it_is_worked_on(client, project, user):
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    soon = timezone.now() + timedelta(seconds=5)
    Assignment.objects.update(expires_at=soon)
    assert client.post(address(project, "annotate-keep"), {"assignment": assignment.pk}).status_code == 204
    assert Assignment.objects.get().expires_at > soon + timedelta(minutes=project.assignment_minutes - 1)


def test_working_on_what_was_sent_back_shortens_no_term(client, project, user):
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    Assignment.objects.update(expires_at=timezone.now() + timedelta(days=3))
    client.post(address(project, "annotate-keep"), {"assignment": assignment.pk})
    assert Assignment.objects.get().expires_at > timezone.now() + timedelta(days=2)


@pytest.mark.parametrize("change", [{"expires_at": -1}, {"created_at": -13 * 60}])
def test_what_ran_out_or_was_held_all_day_is_not_kept(client, project, user, change):
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    Assignment.objects.update(**{name: timezone.now() + timedelta(minutes=by) for name, by in change.items()})
    before = Assignment.objects.get().expires_at
    client.post(address(project, "annotate-keep"), {"assignment": assignment.pk})
    assert Assignment.objects.get().expires_at == before


def test_nobody_keeps_what_is_in_other_hands(client, project, user):
    theirs = make_assignment(make_user(project), make_completion(make_prompt(project)))
    assert client.post(address(project, "annotate-keep"), {"assignment": theirs.pk}).status_code in (403, 404)
    assert Assignment.objects.get().expires_at == theirs.expires_at


def test_an_item_that_ran_out_is_gone_back_to(client, project, user):
    left = make_assignment(user, make_completion(make_prompt(project), "begun and left"))
    theirs = make_assignment(make_user(project), make_completion(make_prompt(project), "theirs"))
    Assignment.objects.update(state="expired", expires_at=timezone.now() - timedelta(minutes=1))
    make_assignment(user, make_completion(make_prompt(project), "the next one"))
    html = client.get(address(project)).content.decode()
    assert "the next one" in html and f'data-run-out="{left.pk}"' in html
    assert "begun and left" in client.get(address(project) + f"?item={left.pk}").content.decode()
    assert "the next one" in client.get(address(project) + f"?item={theirs.pk}").content.decode()


def test_what_is_about_harm_is_not_gone_back_to_without_consent(client, project, user):
    prompt = make_prompt(project)
    left = make_assignment(user, make_completion(prompt, "begun and left"))
    Assignment.objects.update(state="expired", expires_at=timezone.now())
    type(prompt).objects.update(harm="violence")
    assert "begun and left" not in client.get(address(project) + f"?item={left.pk}").content.decode()


def test_someone_elses_item_is_refused_and_not_shown(client, project, user):
    theirs = make_assignment(make_user(project), make_completion(make_prompt(project), "their item"))
    response = client.post(address(project), {"assignment": theirs.pk, "stars": "3"})
    assert response.status_code == 403
    assert "their item" not in response.content.decode() and not Rating.objects.exists()


@pytest.mark.parametrize("pk", ["", "0", "x", "99999999999999999999999", "1 or 1"])
@pytest.mark.parametrize("name", ["annotate", "annotate-skip", "annotate-undo", "annotate-keep"])
def test_an_unknown_item_is_not_found(client, project, user, pk, name):
    assert client.post(address(project, name), {"assignment": pk}).status_code == 404


def test_an_item_of_another_project_is_not_found(client, project, user):
    other = make_assignment(user, make_completion(make_prompt(make_project())))
    assert client.post(address(project), {"assignment": other.pk, "stars": "3"}).status_code == 404


def test_skipping_with_a_reason(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    sent = opened(client, project)
    assert client.post(address(project, "annotate-skip"), {**sent, "reason": "I cannot judge this"}).status_code == 302
    assert Assignment.objects.get().skip_reason == "I cannot judge this"


def test_a_reason_in_ones_own_words_comes_first(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    sent = opened(client, project, reason="I cannot judge this", other="In Finnish")
    client.post(address(project, "annotate-skip"), sent, headers=HTMX)
    assert Assignment.objects.get().skip_reason == "In Finnish"


def test_a_skip_without_a_reason_is_refused(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    response = client.post(address(project, "annotate-skip"), opened(client, project))
    assert response.status_code == 400
    assert Assignment.objects.get().state == "open"


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_a_refused_skip_leaves_the_forms_own_key_alone(client, project, user, headers):
    make_assignment(user, make_completion(make_prompt(project)))
    response = client.post(address(project, "annotate-skip"), opened(client, project), headers=headers)
    assert re.fullmatch(r"[0-9a-f-]{36}", hidden(response, "idempotency_key"))
    assert "data-refused" not in response.content.decode()  # what was entered comes back from the browser's draft


def test_each_act_that_arrives_twice_is_done_once(client, project, user):
    completion = make_completion(make_prompt(project))
    first = make_assignment(user, completion)
    key = {"assignment": first.pk, "act_key": "k-flag", "reason": "Off topic"}
    for _ in range(2):
        assert "Flagged" in client.post(address(project, "annotate-flag"), key, headers=HTMX).content.decode()
    assert Flag.objects.count() == 1
    skip = {"assignment": first.pk, "act_key": "k-skip", "reason": "I cannot judge this"}
    assert [client.post(address(project, "annotate-skip"), skip).status_code for _ in range(2)] == [302, 302]
    undo = {"assignment": first.pk, "act_key": "k-undo"}
    for _ in range(2):
        html = client.post(address(project, "annotate-undo"), undo, headers=HTMX).content.decode()
        assert f'data-assignment="{first.pk}"' in html
    client.post(address(project), opened(client, project, stars="4"))
    client.post(address(project, "annotate-undo"), undo, headers=HTMX)
    client.post(address(project, "annotate-skip"), skip)
    assert Assignment.objects.get(pk=first.pk).state == "submitted"
    assert [row.status for row in Rating.objects.all()] == ["counted"]


def test_a_key_of_one_act_is_no_key_of_another(client, project, user):
    first = make_assignment(user, make_completion(make_prompt(project)))
    client.post(address(project, "annotate-flag"), {"assignment": first.pk, "act_key": "k", "reason": "Off topic"})
    skip = {"assignment": first.pk, "act_key": "k", "reason": "I cannot judge this"}
    response = client.post(address(project, "annotate-skip"), skip)
    assert response.status_code == 409 and Assignment.objects.get().state == "open"


@pytest.mark.parametrize("headers", [{}, HTMX])
def test_undo_brings_the_item_back_with_what_was_said(client, project, user, headers):
    assignment = make_assignment(user, *make_pair(project))
    client.post(address(project), opened(client, project, choice="model_a:3", comment="Hasty."))
    response = client.post(
        address(project, "annotate-undo"), {"assignment": assignment.pk}, headers=headers, follow=True
    )
    html = response.content.decode()
    assert f'data-assignment="{assignment.pk}"' in html and "Hasty." in html
    assert re.search(r'value="model_a:3"[^>]* checked', html)
    assert Comparison.objects.get().status == "withdrawn"


def test_undo_too_late_is_refused(client, project, user):
    assignment = make_assignment(user, *make_pair(project))
    client.post(address(project), opened(client, project, choice="tie"))
    Assignment.objects.update(closed_at=timezone.now() - timedelta(hours=1))
    assert client.post(address(project, "annotate-undo"), {"assignment": assignment.pk}).status_code == 409
    assert Comparison.objects.get().status == "counted"


@pytest.mark.parametrize("name", ["annotate-skip", "annotate-undo", "annotate-keep"])
def test_changes_are_made_by_post_alone(client, project, user, name):
    assert client.get(address(project, name)).status_code == 405


def test_a_forged_form_is_refused(project, user):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    assignment = make_assignment(user, make_completion(make_prompt(project)))
    assert client.post(address(project), {"assignment": assignment.pk, "stars": "3"}).status_code == 403
    assert not Rating.objects.exists()


def test_an_empty_project_says_what_to_do_next(client, project, user):
    html = client.get(address(project)).content.decode()
    project_page = reverse("project", args=[project.slug])
    assert "nothing to annotate yet" in html and f'<a href="{project_page}">See the next step' in html


def test_where_answers_are_written_prompts_are_enough(client, user):
    writing = make_project(asks_ratings=False, asks_comparisons=False, asks_answers=True)
    Membership.objects.create(project=writing, user=user)
    make_prompt(writing)
    assert "nothing to annotate yet" not in client.get(reverse("project", args=[writing.slug])).content.decode()
    client.post(address(writing), opened(client, writing, text="An answer of my own."))
    assert "You have annotated all your items" in client.get(address(writing)).content.decode()
    assert all(step.is_done for step in checklist(writing, is_manager=False) if step.title == "Annotate")


def test_when_the_rest_is_in_other_hands_the_page_says_so(client, project, user):
    make_assignment(make_user(project), make_completion(make_prompt(project)))
    assert "Other annotators have the items that are left" in client.get(address(project)).content.decode()


def test_when_all_is_judged_the_page_says_so(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    response = client.post(address(project), opened(client, project, stars="3"), follow=True)
    assert "You have annotated all your items" in response.content.decode()


def test_a_kind_that_is_used_up_leads_to_the_others_and_not_to_the_end(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    client.post(address(project) + "?kind=rate", opened(client, project, stars="3"))
    html = client.get(address(project) + "?kind=rate").content.decode()
    assert "There are no answers to rate left for you" in html and "You have annotated all" not in html
    assert f'href="{address(project)}"' in html, "the others, without the kind"


def test_the_way_back_to_where_one_came_from_stays_on_the_page(client, project, user):
    make_assignment(user, make_completion(make_prompt(project)))
    came_from = f"/p/{project.slug}/first-model/annotations/"
    html = client.get(f"{address(project)}?kind=rate&back={came_from}").content.decode()
    assert f'<a href="{came_from}">Back' in html
    kept = re.search(r'id="verdict-form" method="post" action="([^"]+)"', html)[1].replace("&amp;", "&")
    sent = opened(client, project, stars="4")
    assert f'<a href="{came_from}">Back' in client.post(kept, sent, follow=True).content.decode()
    assert "Back to where" not in client.get(f"{address(project)}?back=//elsewhere.org/").content.decode()
    assert client.post(reverse("shortcuts"), {"back": "a-word"}).url == reverse("shortcuts")


def test_a_kind_can_be_kept_to(client, project, user):
    make_pair(project)
    assert 'data-kind="compare"' in client.get(address(project) + "?kind=compare").content.decode()
    assert client.get(address(project) + "?kind=nonsense").status_code == 200  # as if it were not there
