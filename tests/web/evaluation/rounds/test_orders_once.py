"""What a program sends to rounds and experiments again after a lost answer is done once, and answered as before."""

from __future__ import annotations

import pytest

from annotate.data.datasets.actions import freeze
from annotate.models import AuditEntry
from evaluation.experiments import actions as experiments
from evaluation.models import RoundReview, RoundSeries
from evaluation.rounds import actions
from tests.support.api_client import Program, sent_twice
from tests.support.evaluation.rounds import end, play
from tests.support.factories import make_comparison, make_completion, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def program(researcher) -> Program:
    return Program(researcher)


@pytest.fixture
def series(order) -> RoundSeries:
    return actions.order(**order)


def test_a_review_is_kept_once(project, series, program):
    play(series)
    address = f"projects/{project.slug}/rounds/{series.pk}/review/"
    sent_twice(lambda key: program.post(address, {"number": 1, "opinion": "better"}, key=key))
    assert RoundReview.objects.count() == 1


def test_a_pause_its_end_and_a_cancellation(project, series, program):
    for act in ("pause", "go-on", "cancel"):
        address = f"projects/{project.slug}/rounds/{series.pk}/{act}/"
        sent_twice(lambda key, address=address, act=act: program.post(address, key=f"{key} {act}"))
    assert AuditEntry.objects.filter(action__startswith="rounds.").count() == 4  # with the order itself


def test_a_pause_sent_again_late_stops_nothing_that_goes_on(project, series, program):
    for act, key in (("pause", "once"), ("go-on", ""), ("pause", "once")):
        assert program.post(f"projects/{project.slug}/rounds/{series.pk}/{act}/", key=key).status_code == 200
    series.refresh_from_db()
    assert series.state == "running"


def test_what_failed_is_resumed_once(project, series, program):
    end(project.runs.get(), "failed")
    address = f"projects/{project.slug}/rounds/{series.pk}/retry/"
    assert sent_twice(lambda key: program.post(address, key=key)).json() == {"retried": 1}


def test_runs_of_an_experiment_are_resumed_once_and_it_is_cancelled_once(project, order, program, researcher):
    annotator = make_user(project)
    for prompt in project.prompts.filter(side="train"):
        make_comparison(make_completion(prompt), make_completion(prompt), "model_a", annotator)
    dataset = freeze(project=project, kind="preferences", name="pairs", by=None)
    experiment = experiments.order(
        project=project, by=researcher, name="one", parent=order["parent"], dataset=dataset,
        arms=[{"method": "dpo"}], seeds=2, votes_per_pair=4,
    )  # fmt: skip
    end(project.runs.filter(kind="dpo").earliest("pk"), "failed")
    address = f"projects/{project.slug}/experiments/{experiment.pk}"
    assert sent_twice(lambda key: program.post(f"{address}/retry/", key=key)).json() == {"retried": 1}
    sent_twice(lambda key: program.post(f"{address}/cancel/", key=f"{key} cancel"))
    assert AuditEntry.objects.filter(action="experiment.cancelled").count() == 1
