"""Rounds that wait for what cannot come say so, with the remedy, and go on by themselves once it can."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags

from annotate.language_models.actions import bring_back, enter_arena, leave_arena, retire
from annotate.projects.actions import change_settings
from evaluation.alerts.alert_kinds import VOTES_MISSING
from evaluation.alerts.alert_upkeep import dismiss, look
from evaluation.models import Alert, RoundSeries
from evaluation.rounds import actions, round_progress, round_words
from tests.support.evaluation.rounds import annotate, current, end_all, vote
from tests.support.factories import make_user, sign_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def voting(project, order) -> RoundSeries:
    """Rounds whose first model has met the one before, without a vote."""
    series = actions.order(**order)
    end_all(project)
    annotate(current(series), 24)
    end_all(project)
    return series


def said(client, series: RoundSeries) -> str:
    """Return what the API says, after checking that the page says it too."""
    address = reverse("round-series", args=[series.project.slug, series.pk])
    sign_in(client, series.project, "researcher")
    shown = client.get(f"/api/v1/projects/{series.project.slug}/rounds/{series.pk}/").json()
    assert shown["rounds"][-1]["state"] in shown["sentence"]
    page = strip_tags(client.get(address).content.decode()).replace("&#x27;", "'")
    assert shown["sentence"] in " ".join(page.split())
    return str(shown["sentence"])


def test_a_model_that_has_left_the_arena_is_named_and_votes_go_on_once_it_is_back(client, project, voting, researcher):
    one = current(voting)
    assert said(client, voting).endswith("0 of 10 votes.")
    leave_arena(project=project, model=one.model, by=researcher)
    lacking = f"0 of 10 votes. Enter it on its page: {one.model.name} is not in the arena and gets no votes."
    assert lacking in said(client, voting)
    leave_arena(project=project, model=one.policy, by=researcher)
    assert f"{one.policy.name} and {one.model.name} are not in the arena" in said(client, voting)
    for model in (one.policy, one.model):
        enter_arena(project=project, model=model, by=researcher)
    assert said(client, voting).endswith("0 of 10 votes.")
    vote(one, wins=6, losses=4)
    assert current(voting).number == 2 and "not in the arena" not in said(client, voting)


def test_a_model_that_was_retired_while_votes_are_collected_is_named(client, project, voting):
    one, manager = current(voting), make_user(project, role="manager", is_staff=True)
    retire(model=one.model, reason="It repeats itself.", by=manager)
    assert f"Bring it back on its page: {one.model.name} is retired and gets no votes." in said(client, voting)
    bring_back(model=one.model, by=manager)
    assert said(client, voting).endswith("0 of 10 votes.")


def test_rounds_that_were_cancelled_ask_for_no_model(client, project, voting):
    one, manager = current(voting), make_user(project, role="manager", is_staff=True)
    actions.cancel(series=voting, by=manager)
    retire(model=one.model, reason="It repeats itself.", by=manager)
    voting.refresh_from_db()
    assert round_words.what_is_missing(voting, one) == []


def test_rounds_whose_project_asks_for_no_comparisons_any_more_say_so(client, project, order):
    series = actions.order(**order)
    end_all(project)
    manager = make_user(project, role="manager")
    change_settings(project=project, by=manager, asks_comparisons=False)
    assert f"{project.name} asks for no comparisons. Switch them on in its settings." in said(client, series)
    change_settings(project=project, by=manager, asks_comparisons=True)
    assert said(client, series).endswith("0 of 24 comparisons with a winner.")
    annotate(current(series), 24)
    assert "annotated" not in said(client, series)


def test_an_alert_lasts_as_long_as_nothing_can_come(project, voting, researcher):
    model = current(voting).model
    leave_arena(project=project, model=model, by=researcher)
    look(VOTES_MISSING)
    alert = Alert.objects.get(kind="votes.missing")
    assert model.name in alert.text and voting.name in alert.text and alert.closed_at is None
    assert alert.url == reverse("round-series", args=[project.slug, voting.pk])
    enter_arena(project=project, model=model, by=researcher)
    look(VOTES_MISSING)
    assert not Alert.objects.filter(closed_at=None).exists()


def test_of_paused_rounds_nothing_is_missed(project, voting, researcher):
    leave_arena(project=project, model=current(voting).model, by=researcher)
    actions.pause(series=voting, by=researcher)
    round_progress.periodic_task()
    look(VOTES_MISSING)
    assert not Alert.objects.exists()


def test_the_table_says_where_a_round_is_and_the_page_once_what_is_missing(client, project, voting, researcher):
    one = current(voting)
    leave_arena(project=project, model=one.model, by=researcher)
    sign_in(client, project, "researcher")
    page = client.get(reverse("round-series", args=[project.slug, voting.pk])).content.decode()
    assert page.count("gets no votes") == 1
    assert f'<a href="{reverse("model", args=[one.model.pk])}">{one.model.name}</a> is not in the arena' in page


def test_a_dismissed_alert_is_opened_again_for_another_model_and_not_for_other_words(project, voting, researcher):
    one = current(voting)
    leave_arena(project=project, model=one.model, by=researcher)
    look(VOTES_MISSING)
    Alert.objects.update(created_at=timezone.now() - timedelta(days=1))
    look(VOTES_MISSING)
    dismiss(Alert.objects.open().get(), by=researcher)
    Alert.objects.update(signs=[], text="as an earlier version said it")
    look(VOTES_MISSING)
    assert not Alert.objects.open().exists()
    leave_arena(project=project, model=one.policy, by=researcher)
    look(VOTES_MISSING)
    assert Alert.objects.open().count() == 1


def test_the_remedy_of_long_names_is_in_the_alert(project, voting, researcher):
    for model in (current(voting).policy, current(voting).model):
        model.name = f"{model.pk} " + "x" * 110
        model.save()
        leave_arena(project=project, model=model, by=researcher)
    RoundSeries.objects.update(name="y" * 60)
    look(VOTES_MISSING)
    text = Alert.objects.get().text
    assert len(text) == 300 and "Enter them on their pages" in text
