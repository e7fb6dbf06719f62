"""Answers that people judge are drawn in one way, wherever they come from."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from annotate.models import Project
from common.sampling import sampling_of
from tests.support.factories import make_project, make_user
from training.configs import PPOConfig, SampleConfig


def test_bulk_answers_are_drawn_like_those_that_a_project_serves():
    bulk = SampleConfig()
    served = {"max_new_tokens": bulk.max_new_tokens, "temperature": bulk.temperature, "top_p": bulk.top_p}
    assert served == sampling_of(Project()) == {"max_new_tokens": 1024, "temperature": 0.7, "top_p": 0.95}


def test_rollouts_are_drawn_from_the_policy_as_it_is():
    assert (PPOConfig().temperature, PPOConfig().top_p) == (1.0, 1.0)


@pytest.mark.django_db
def test_the_form_of_a_sample_run_says_that_answers_are_drawn_as_they_are_served(client):
    project = make_project()
    client.force_login(make_user(project, role="researcher"))
    text = client.get(reverse("new-run", args=[project.slug, "sample"])).content.decode()
    field = re.search(r'<input[^>]*name="config\.temperature"[^>]*>', text)
    assert field and 'value="0.7"' in field[0]
    assert "by default as in the arena and the playground" in text
