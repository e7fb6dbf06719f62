"""Answers that people judge are drawn in one way, wherever they come from."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from annotate import playground
from annotate.actions import red_team
from annotate.live import writing
from tests.factories import make_project, make_user
from training.configs import PPOConfig, SampleConfig


def settings_of(sampling) -> tuple[float, float]:
    return sampling["temperature"], sampling["top_p"]


def test_bulk_answers_are_drawn_like_those_of_the_arena_and_the_playground():
    bulk = SampleConfig()
    for served in (writing.SAMPLING, playground.SAMPLING, red_team.SAMPLING):
        assert (bulk.temperature, bulk.top_p) == settings_of(served) == (0.7, 0.95)


def test_rollouts_are_drawn_from_the_policy_as_it_is():
    assert (PPOConfig().temperature, PPOConfig().top_p) == (1.0, 1.0)


@pytest.mark.django_db
def test_the_form_of_a_sample_run_says_that_answers_are_drawn_as_they_are_served(client):
    project = make_project()
    client.force_login(make_user(project, role="researcher"))
    text = client.get(reverse("new-run", args=[project.slug, "sample"])).content.decode()
    field = re.search(r'<input[^>]*name="config\.temperature"[^>]*>', text)
    assert field and 'value="0.7"' in field[0]
    assert "as answers are served in the arena and the playground" in text
