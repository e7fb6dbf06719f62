"""What the arena's pages say beside the answers: examples, how long it usually takes, what a follow-up can change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.cache import cache
from django.urls import reverse

from annotate.arena.battles.scene import Side, count_begun
from annotate.arena.usual_wait import usual_seconds
from annotate.models import Battle
from tests.support.factories import make_completion, make_contestant, make_model, make_project, make_prompt

pytestmark = pytest.mark.django_db


@pytest.fixture
def project():
    cache.clear()
    return make_project(is_public=True)


def battle(project, seconds: float) -> Battle:
    prompt, models = make_prompt(project, side="eval"), (make_model(), make_model())
    a, b = (make_completion(prompt, model=model, source="arena") for model in models)
    sides = {"model_a": models[0], "model_b": models[1], "completion_a": a, "completion_b": b}
    row = Battle.objects.create(project=project, prompt=prompt, visitor="v", **sides)
    Battle.objects.filter(pk=row.pk).update(begun_at=row.created_at + timedelta(seconds=seconds))
    return row


def test_the_usual_wait_is_the_median_of_live_battles_once_there_are_some(project):
    for seconds in (2, 4, 8, 60):
        battle(project, seconds)
    assert usual_seconds(project) is None
    battle(project, 9)
    cache.clear()
    assert usual_seconds(project) == 8


def test_what_stood_before_says_nothing_of_the_wait(project):
    for _ in range(6):
        row = battle(project, 0.1)
        type(row.completion_a).objects.filter(pk=row.completion_a_id).update(source="")
    assert usual_seconds(project) is None


def test_how_many_have_begun_is_told_and_not_which():
    assert count_begun((Side("A", "The"), Side("B"))) == count_begun((Side("A"), Side("B", "It"))) == 1
    assert count_begun((Side("A", state="failed"), Side("B", "It"))) == 2


def test_an_example_fills_the_field_without_javascript_too(client, project):
    for _ in range(2):
        make_contestant(project)
    page = reverse("arena", args=[project.slug])
    html = client.get(page).content.decode()
    assert html.count("data-example") >= 3 and f"The project {project.name} runs this arena" in html
    assert "Draw a question" not in html  # there is none
    html = client.get(page, {"text": "Why <b>so</b>?"}).content.decode()
    assert "Why &lt;b&gt;so&lt;/b&gt;?</textarea>" in html
    make_prompt(project, side="eval")
    assert "Draw a question" in client.get(page).content.decode()
