"""An experiment whose model is not in the arena says so, with the remedy, and goes on by itself once it is back."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils.html import strip_tags

from annotate.language_models.actions import enter_arena, leave_arena
from evaluation.alerts.alert_kinds import VOTES_MISSING
from evaluation.alerts.alert_upkeep import look
from evaluation.experiments import actions, experiment_progress
from evaluation.models import Alert, Experiment
from tests.support.evaluation.experiments import end_all, models_of, vote
from tests.support.factories import sign_in

pytestmark = pytest.mark.django_db


def said(client, experiment: Experiment) -> str:
    """Return what the API says, after checking that the page says it too."""
    sign_in(client, experiment.project, "researcher")
    address = f"/api/v1/projects/{experiment.project.slug}/experiments/{experiment.pk}/"
    sentence = str(client.get(address).json()["sentence"])
    page = client.get(reverse("experiment", args=[experiment.project.slug, experiment.pk])).content.decode()
    assert sentence in " ".join(strip_tags(page).replace("&#x27;", "'").split())
    return sentence


def test_two_arms_of_which_one_has_left_the_arena_wait_in_words_until_it_is_back(client, project, order, researcher):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 4})
    end_all(project)
    experiment.refresh_from_db()
    gone, base = models_of(experiment, "SFT"), models_of(experiment, "base")[0]
    assert experiment.state == "voting" and "get no votes" not in said(client, experiment)
    for model in gone:
        leave_arena(project=project, model=model, by=researcher)
    missing = f"Enter them on their pages: {gone[0].name} and {gone[1].name} are not in the arena and get no votes."
    assert missing in said(client, experiment)
    page = client.get(reverse("experiment", args=[project.slug, experiment.pk])).content.decode()
    assert all(f'<a href="{reverse("model", args=[model.pk])}">{model.name}</a>' in page for model in gone)
    look(VOTES_MISSING)
    alert = Alert.objects.get(kind="votes.missing", closed_at=None)
    assert missing in alert.text and alert.url == reverse("experiment", args=[project.slug, experiment.pk])
    for model in gone:
        enter_arena(project=project, model=model, by=researcher)
        for _ in range(4):
            vote(experiment, model, base)
    look(VOTES_MISSING)
    assert "get no votes" not in said(client, experiment) and not Alert.objects.filter(closed_at=None).exists()
    experiment_progress.periodic_task()
    experiment.refresh_from_db()
    assert experiment.state == "decided"
