"""How often the pages of experiments and rounds ask the database: alike for few arms and rounds, and for many."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from annotate.labelling.actions import change_status
from annotate.models import Comparison
from annotate.models.prompts import ARENA
from evaluation.experiments import actions, experiment_results, present, read_votes
from evaluation.leaderboard.votes import ledger
from evaluation.models import ArmModel, Experiment, ExperimentArm, Round, RoundSeries
from evaluation.rounds import actions as rounds
from evaluation.rounds import present as rounds_present
from tests.support.api_client import Program
from tests.support.evaluation.experiments import vote
from tests.support.factories import make_comparison, make_completion, make_model, make_pair, make_user
from training.models import Attempt, Metric, Run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: Any) -> None:
    """Sequences of a test's database do not begin at 1, and a page would look for votes that come late."""
    monkeypatch.setattr(ledger, "PATIENCE", -1.0)


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


def test_of_many_votes_the_first_are_read_and_told_from_others(project, monkeypatch):
    monkeypatch.setattr(read_votes, "count_read", lambda count: 3)
    pks = [make_comparison(*make_pair(project, side="eval")).pk for _ in range(5)]

    def read(votes: Any) -> tuple[list[int], str]:
        found = read_votes.read_votes(votes)
        assert found.last == votes.last().pk
        return sorted(one.pk for one in found.votes), found.state

    every = Comparison.objects.order_by("pk")
    first = read(every)
    assert first[0] == pks[:3] and read(every.exclude(pk=pks[4])) == first, "later ones are not read"
    others = [read(every.exclude(pk=pk)) for pk in pks[:3]]
    assert [found for found, _ in others] == [sorted({*pks[:4]} - {pk}) for pk in pks[:3]]
    assert len({state for _, state in [first, *others]}) == 4


def reads_votes(client: Any, address: str) -> bool:
    """Whether a page reads votes on models from the database."""
    with CaptureQueriesContext(connection) as seen:
        assert client.get(address).status_code == 200
    return any('"annotate_comparison"' in one["sql"] and "\"side\" = 'eval'" in one["sql"] for one in seen)


@pytest.fixture
def decided(project: Any, order: Any) -> Experiment:
    """An experiment that four votes have decided; a fifth came later."""
    experiment = actions.order(**order | {"arms": [{"method": "sft"}], "votes_per_pair": 2})
    entered = timezone.now()
    plan = {**experiment.plan, "stop": {"votes": 4, "votes_per_pair": 2, "pairs": 2}}
    Experiment.objects.update(state="voting", entered_at=entered, plan=plan)
    experiment.refresh_from_db()
    add_arms(experiment, 1)
    ArmModel.objects.exclude(model=None).update(entered_at=entered)
    assert experiment_results.decide(experiment)
    vote(experiment, ArmModel.objects.filter(arm__method="grpo").first().model, experiment.parent)
    experiment.refresh_from_db()
    return experiment


def test_a_decided_experiment_reads_votes_again_where_one_is_withdrawn_excluded_or_new(project, decided, client):
    address = reverse("experiment", args=[project.slug, decided.pk])
    of_the_verdict, *_, later = Comparison.objects.filter(prompt__side="eval").order_by("pk")

    def told() -> tuple[int, bool]:
        """How many votes the page says that there are, and whether one of the verdict is gone."""
        text = client.get(address).content.decode()
        votes = next(n for n in range(9) if f"All {n} votes so far" in text)
        return votes, "1 of these votes do not count any more" in text

    assert told() == (5, False) and not reads_votes(client, address), "nothing has changed"
    change_status([of_the_verdict], "withdrawn", "test", None)
    assert told() == (4, True) and not reads_votes(client, address)
    change_status([of_the_verdict], "counted", "test", None)
    change_status([later], "excluded", "test", None)
    assert "votes so far" not in client.get(address).content.decode(), "nothing is later than the verdict"
    change_status([later], "counted", "test", None)
    assert told() == (5, False)
    vote(decided, ArmModel.objects.filter(arm__method="grpo").first().model, decided.parent)
    assert told() == (6, False) and not reads_votes(client, address)


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
        met = [make_completion(asked, model=one, source=ARENA) for one in (model, before.model)]
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
    met = [Round.objects.get(series=series, number=n).model for n in (1, 0)]
    pair = [make_completion(asked, model=one, source=ARENA) for one in met]
    better, worse, _last = (
        make_comparison(*pair, winner, make_user(project)) for winner in ("model_a", "model_b", "model_a")
    )

    def rating() -> float:
        return rounds_present.shown(series).rows[1].rating.value

    change_status([worse], "excluded", "test", None)
    before = rating()
    change_status([worse], "counted", "test", None)
    change_status([better], "excluded", "test", None)
    assert rating() < before - 1, "as many votes, of the same last one"


def test_rounds_read_votes_again_where_one_is_withdrawn_or_new(project, series, client):
    add_rounds(series, range(1, 3))
    address = reverse("round-series", args=[project.slug, series.pk])

    def votes() -> list[int]:
        return [row.votes for row in rounds_present.shown(series).rows]

    one, _ = Comparison.objects.filter(prompt__side="eval")
    assert votes() == [0, 1, 1] and not reads_votes(client, address), "nothing has changed"
    change_status([one], "withdrawn", "test", None)
    assert votes() == [0, 0, 1] and not reads_votes(client, address)
    change_status([one], "counted", "test", None)
    make_comparison(one.completion_a, one.completion_b, "model_a", make_user(project))
    assert votes() == [0, 2, 1]
    add_rounds(series, range(3, 4))
    assert votes() == [0, 2, 1, 1]


def test_a_page_stands_where_all_votes_on_rounds_are_one_persons(project, series, researcher, client):
    add_rounds(series, range(1, 3), make_user(project))
    page = client.get(reverse("round-series", args=[project.slug, series.pk]))
    assert page.status_code == 200 and "no interval" in page.content.decode()
    answer = Program(researcher).get(f"projects/{project.slug}/rounds/{series.pk}/")
    assert "Infinity" not in answer.content.decode()
    assert [row["rating"]["lower"] for row in answer.json()["rounds"]] == [0.0, None, None]
