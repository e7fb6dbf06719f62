"""How often the pages of experiments and rounds ask the database: alike for few arms and rounds, and for many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.models import Comparison
from evaluation.experiments import actions, present
from evaluation.models import ArmModel, Experiment, ExperimentArm, Round, RoundSeries
from evaluation.rounds import actions as rounds
from evaluation.rounds import present as rounds_present
from tests.support.api_client import Program
from tests.support.evaluation.experiments import vote
from tests.support.factories import make_comparison, make_completion, make_model, make_user
from training.models import Attempt, Metric, Run

pytestmark = pytest.mark.django_db


def make_run(project: Any, kind: str, key: str, by: Any) -> Run:
    """A run that took a minute."""
    run = Run.objects.create(
        project=project, kind=kind, name=f"{kind} {key}", config={}, state="running", created_by=by,
        idempotency_key=f"{by.pk}:{key}:{kind}",
    )  # fmt: skip
    now = timezone.now()
    ended = now + timedelta(minutes=1)
    Attempt.objects.create(run=run, number=1, state="failed", started_at=now, ended_at=ended, lease_expires_at=now)
    return run


def add_arms(experiment: Experiment, count: int) -> None:
    """Arms whose models have met, and whose runs recorded KL and score."""
    for method in ("sft", "grpo") * count:
        number = experiment.arms.count()
        arm = ExperimentArm.objects.create(
            experiment=experiment, name=f"{method} {number}", method=method, config={"config": {}, "drawing": {}}
        )
        for seed in range(2):
            run = make_run(
                experiment.project, method, f"experiment:{experiment.pk}:{arm.pk}{seed}", experiment.created_by
            )
            values = {"kl": 1.0, "score": 2.0}
            Metric.objects.bulk_create(
                Metric(run=run, sequence=n, step=n, time=timezone.now(), values=values) for n in range(3)
            )
            model = make_model()
            ArmModel.objects.create(arm=arm, seed=seed, model=model, training_run=run, entered_at=timezone.now())
            vote(experiment, model, experiment.parent)


def statements(client: Any, address: str) -> int:
    with CaptureQueriesContext(connection) as seen:
        assert client.get(address).status_code == 200
    return len(seen)


def test_a_page_of_many_arms_takes_no_more_statements_than_one_of_few(project, order, client):
    experiment = actions.order(**order | {"arms": [{"method": "sft"}]})
    Experiment.objects.update(state="voting", entered_at=timezone.now())
    address = reverse("experiment", args=[project.slug, experiment.pk])
    experiment.refresh_from_db()
    add_arms(experiment, 1)
    statements(client, address)  # what a process reads once is not counted
    few = statements(client, address)
    add_arms(experiment, 4)
    assert statements(client, address) == few
    shown = present.shown(experiment)
    assert len(shown.frontiers) == 10 and shown.frontiers[-1].points == [(1.0, 0.0)] * 3


@pytest.fixture
def series(project: Any, order: Any, researcher: Any) -> RoundSeries:
    """Rounds that were ordered, of which none has begun."""
    ordered = rounds.order(
        project=project, by=researcher, name="r", parent=order["parent"], method="dpo", judgements=20, votes=10,
        rounds=9,
    )  # fmt: skip
    Round.objects.filter(number=0).update(entered_at=timezone.now())
    return ordered


def add_rounds(series: RoundSeries, numbers: range, voter: Any = None) -> None:
    """Rounds that are compared: one comparison with a winner among two, and one vote."""
    project, judge = series.project, make_user(series.project)
    for number in numbers:
        before = Round.objects.get(series=series, number=number - 1)
        runs = {
            kind: make_run(project, kind, f"rounds:{series.pk}:{number}", series.created_by)
            for kind in ("sample", "dpo")
        }
        now, model = timezone.now(), make_model()
        prompt = series.prompts.prompts.first()
        answers = [make_completion(prompt, model=before.model) for _ in range(3)]
        runs["sample"].completions.add(*answers)
        gain = {"votes": 10, "value": 5.0, "lower": -3.0, "upper": 12.0}
        Round.objects.update_or_create(
            series=series, number=number,
            defaults={
                "policy": before.model, "model": model, "answers_run": runs["sample"], "training_run": runs["dpo"],
                "opened_at": now, "needed": 1, "dataset": series.prompts, "entered_at": now, "gain": gain,
            },
        )  # fmt: skip
        make_comparison(answers[0], answers[1], "model_a", judge)
        make_comparison(answers[1], answers[2], "tie", judge)
        asked = series.questions.prompts.first()
        met = (make_completion(asked, model=model), make_completion(asked, model=before.model))
        make_comparison(*met, "model_a", voter or make_user(project))


def test_a_page_of_many_rounds_takes_no_more_statements_than_one_of_few(project, series, client):
    add_rounds(series, range(1, 3))
    address = reverse("round-series", args=[project.slug, series.pk])
    statements(client, address)  # what a process reads once is not counted
    few = statements(client, address)
    add_rounds(series, range(3, 8))
    statements(client, address)
    assert statements(client, address) == few
    shown = rounds_present.shown(series)
    assert [(row.judged, row.votes) for row in shown.rows] == [(0, 0)] + [(1, 1)] * 7
    assert [row.seconds for row in shown.rows[1:]] == pytest.approx([120.0] * 7, abs=1)
    assert shown.seconds == pytest.approx(840.0, abs=5)


def test_ratings_of_rounds_follow_where_one_vote_is_excluded_and_another_counts_again(project, series):
    add_rounds(series, range(1, 3))
    asked = series.questions.prompts.first()
    pair = [make_completion(asked, model=Round.objects.get(series=series, number=n).model) for n in (1, 0)]
    better, worse, _last = (
        make_comparison(*pair, winner, make_user(project)) for winner in ("model_a", "model_b", "model_a")
    )

    def rating() -> float:
        return rounds_present.shown(series).rows[1].rating.value

    Comparison.objects.filter(pk=worse.pk).update(status="excluded")
    before = rating()
    Comparison.objects.filter(pk=worse.pk).update(status="counted")
    Comparison.objects.filter(pk=better.pk).update(status="excluded")
    assert rating() < before - 1, "as many votes, of the same last one"


def test_a_page_stands_where_all_votes_on_rounds_are_one_persons(project, series, researcher, client):
    add_rounds(series, range(1, 3), make_user(project))
    page = client.get(reverse("round-series", args=[project.slug, series.pk]))
    assert page.status_code == 200 and "no interval" in page.content.decode()
    answer = Program(researcher).get(f"projects/{project.slug}/rounds/{series.pk}/")
    assert "Infinity" not in answer.content.decode()
    assert [row["rating"]["lower"] for row in answer.json()["rounds"]] == [0.0, None, None]
