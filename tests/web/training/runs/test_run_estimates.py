"""Time and memory of a run before it starts, by what runs like it have taken."""

from __future__ import annotations

import pytest
from django.urls import reverse
from django.utils import timezone

from annotate.models import Dataset
from tests.support.api_client import Program
from tests.support.factories import make_project, make_user
from tests.support.training.runs import finished, make_dataset, make_run, make_weights
from training import configs
from training.runs.present.run_estimates import UNKNOWN, PlannedRun, estimate

pytestmark = pytest.mark.django_db
PPO = {"reward_function": "a.b", "steps": 10, "batch_size": 32, "calibration_episodes": 80, "max_new_tokens": 64}


def planned(project, kind: str, config: dict, **fields) -> PlannedRun:
    return PlannedRun(project, kind, dict(vars(configs.parse(kind, config))), **fields)


def test_nothing_is_said_where_nothing_like_it_has_run(project):
    finished(project, "ppo", 90, PPO, state="failed")
    finished(project, "sft", 90, {})
    one = estimate(planned(project, "ppo", PPO, parent=make_weights()))
    assert (one.seconds, one.memory_bytes, one.text) == (None, None, UNKNOWN)


def test_the_same_run_takes_what_it_took(project):
    parent = make_weights(parameters=135_000_000)
    run = finished(project, "ppo", 415, PPO, parent=parent)
    one = estimate(planned(project, "ppo", PPO, parent=parent))
    assert one.seconds == pytest.approx(415) and one.memory_bytes == 1.4e9
    assert one.text == f"About 7 min, 1.4 GB: by run {run.pk}, {run.name}, which took 7 min."


def test_time_grows_with_work_and_the_most_similar_run_is_the_guide(project):
    parent = make_weights(parameters=100)
    finished(project, "ppo", 415, PPO, parent=parent)
    twice = estimate(planned(project, "ppo", PPO | {"steps": 20, "calibration_episodes": 160}, parent=parent))
    assert twice.seconds == pytest.approx(15 + 2 * 400)
    near = finished(project, "ppo", 1000, PPO | {"steps": 19, "calibration_episodes": 160}, parent=parent)
    assert f"by run {near.pk}," in estimate(planned(project, "ppo", PPO | {"steps": 20}, parent=parent)).text


@pytest.mark.parametrize("kind", ["ppo", "grpo", "rloo"])
def test_time_grows_with_the_passes_over_a_batch_less_than_in_proportion(project, kind):
    options = {"epochs": 2} | (PPO if kind == "ppo" else {})
    parent = make_weights(parameters=100)
    result = {"packed_layers": 30}
    finished(project, kind, 415, options, parent=parent, result=result)
    longer = estimate(planned(project, kind, options | {"epochs": 4}, parent=parent))
    assert 415 * 1.2 < longer.seconds < 415 * 1.8


def test_a_larger_model_takes_longer_and_more_memory(project):
    small, large = make_weights(parameters=100), make_weights(parameters=300)
    finished(project, "sft", 115, {}, parent=small, dataset=examples(project, 50))
    one = estimate(planned(project, "sft", {}, parent=large, dataset=examples(project, 50)))
    assert one.seconds == pytest.approx(15 + 3 * 100) and one.memory_bytes == pytest.approx(0.4e9 + 3 * 1e9)


def test_a_model_of_unknown_size_is_taken_for_one_of_the_guides_size(project):
    finished(project, "ppo", 415, PPO, parent=make_weights(parameters=135_000_000))
    one = estimate(planned(project, "ppo", PPO, parent=make_weights(parameters=None)))
    assert one.seconds == pytest.approx(415) and one.memory_bytes == 1.4e9


def test_a_run_that_was_resumed_is_no_guide(project):
    run = finished(project, "sft", 115, {}, parent=make_weights(), dataset=examples(project, 50))
    run.attempts.update(resumed_from_step=4)
    assert estimate(planned(project, "sft", {}, parent=make_weights(), dataset=examples(project, 50))).seconds is None


def test_one_run_under_load_does_not_decide_and_the_median_of_its_like_does(project):
    parent = make_weights(parameters=100)
    for seconds in (400, 3000, 430):
        finished(project, "ppo", seconds, PPO, parent=parent)
    one = estimate(planned(project, "ppo", PPO, parent=parent))
    assert one.seconds == pytest.approx(430)
    assert one.basis == "by the median of 3 runs like it, which took 7 min to 50 min"


def test_recent_runs_tell_more_than_older_ones(project):
    parent = make_weights(parameters=100)
    for seconds in (9000, 9000, 9000, 100, 100, 100, 100, 100):
        finished(project, "ppo", seconds, PPO, parent=parent)
    assert estimate(planned(project, "ppo", PPO, parent=parent)).seconds == pytest.approx(100)


def test_a_run_of_another_machine_is_no_guide(project):
    parent = make_weights(parameters=100)
    there, here, sample = (finished(project, "ppo", seconds, PPO, parent=parent) for seconds in (5000, 100, 7000))
    there.attempts.update(worker="worker@slow:1:7:1700000000")
    here.attempts.update(worker="worker@quick:1:8:1700000000")
    sample.attempts.update(worker="sample")
    assert estimate(planned(project, "ppo", PPO, parent=parent)).seconds == pytest.approx(100)


@pytest.mark.parametrize("state", ["lost", "paused"])
def test_a_run_that_was_interrupted_is_no_guide(project, state):
    parent = make_weights(parameters=100)
    run = finished(project, "ppo", 4000, PPO, parent=parent)
    run.attempts.update(number=2)
    run.attempts.create(number=1, lease_expires_at=timezone.now(), worker="w", launcher="l", state=state)
    assert estimate(planned(project, "ppo", PPO, parent=parent)).text == UNKNOWN


def test_pretraining_says_what_its_table_says(project, client):
    tokenizer = make_weights(kind="tokenizer")
    last = make_run(project, kind="pretrain", state="succeeded", parent=tokenizer)
    last.config = dict(vars(configs.parse("pretrain", {"size": "1M"})))
    last.result = {"tokens_per_second": 1000.0, "machine": "here"}
    last.save()
    corpus = make_dataset(project, kind="corpus")
    corpus.counts = {"bytes": 400_000}
    one = estimate(planned(project, "pretrain", {"size": "1M"}, parent=tokenizer, dataset=corpus))
    assert one.seconds == pytest.approx(100)
    assert estimate(planned(project, "pretrain", {"size": "7B"}, parent=tokenizer, dataset=corpus)).seconds is None


def test_the_form_shows_the_line_and_it_follows_what_is_typed(client, project):
    client.force_login(make_user(project, role="researcher"))
    form = reverse("new-run", args=[project.slug, "ppo"])
    assert UNKNOWN in client.get(form).content.decode()
    parent = make_weights(parameters=100)
    finished(project, "ppo", 415, PPO, parent=parent)
    address = reverse("estimate-run", args=[project.slug, "ppo"])
    assert f'hx-get="{address}"' in client.get(form).content.decode()
    values = {f"config.{name}": value for name, value in PPO.items() if name != "reward_function"}
    text = client.get(address, {**values, "parent": parent.pk}).content.decode()
    assert "About 7 min, 1.4 GB" in text and "<html" not in text
    wrong = client.get(address, {**values, "config.steps": "many", "parent": parent.pk})
    assert wrong.status_code == 200
    assert client.get(address.replace("/ppo/", "/alchemy/")).status_code == 404


@pytest.mark.parametrize("measure", ["perplexity", "win_rate"])
def test_an_evaluation_has_the_line_of_its_measure(client, project, measure):
    client.force_login(make_user(project, role="researcher"))
    parent = make_weights(parameters=100)
    finished(project, "evaluate", 115, {"measure": "perplexity"}, parent=parent)
    form = reverse("new-run", args=[project.slug, "evaluate"])
    text = client.get(form, {"measure": measure, "parent": parent.pk}).content.decode()
    assert ("About 2 min, 1.4 GB" in text) == (measure == "perplexity")
    line = client.get(
        reverse("estimate-run", args=[project.slug, "evaluate"]), {"measure": measure, "parent": parent.pk}
    )
    assert ("About 2 min, 1.4 GB" in line.content.decode()) == (measure == "perplexity")


def test_a_program_gets_the_same_numbers(project):
    api = Program(make_user(project, role="researcher"))
    parent = make_weights(parameters=100)
    run = finished(project, "sft", 115, {}, parent=parent, dataset=(dataset := examples(project, 50)))
    order = {"kind": "sft", "project": project.slug, "parent": parent.pk, "dataset": dataset.pk}
    answer = api.post("runs/estimate/", order)
    assert answer.status_code == 200
    assert answer.json() == {
        "seconds": pytest.approx(115), "memory_bytes": 1.4e9, "basis": f"by run {run.pk}, {run.name}, which took 2 min",
        "text": f"About 2 min, 1.4 GB: by run {run.pk}, {run.name}, which took 2 min.",
        "parts": {}, "fits": None, "advice": "", "changes": {},
    }  # fmt: skip
    wrong = api.post("runs/estimate/", {**order, "config": {"epochs": -1}})
    assert wrong.status_code == 400 and "config.epochs" in wrong.json()["errors"]
    assert api.post("runs/estimate/", {**order, "kind": "alchemy"}).status_code == 400
    outsider = Program(make_user(make_project(), role="researcher"))
    assert outsider.post("runs/estimate/", order).status_code in (403, 404)


def test_a_run_of_another_project_is_a_guide_without_its_name(project):
    parent = make_weights(parameters=100)
    theirs = finished(make_project(), "sft", 115, {}, parent=parent, dataset=examples(project, 50), name="secret plan")
    one = estimate(planned(project, "sft", {}, parent=parent, dataset=examples(project, 50)))
    assert one.seconds == pytest.approx(115) and theirs.name not in one.text and "another project" in one.text


def examples(project, count: int) -> Dataset:
    dataset = make_dataset(project, kind="sft")
    dataset.counts = {"examples": count}
    dataset.save()
    return dataset
