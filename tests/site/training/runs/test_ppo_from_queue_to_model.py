"""A real PPO run of the tiny model through the worker: it waits for annotators, pauses at a bound, is told to
finish."""

from __future__ import annotations

import json

import pytest

from annotate.labelling import actions as feedback
from annotate.labelling import assigning as assignments
from annotate.models import LanguageModel
from tests.support import tiny_model
from tests.support.factories import make_model, make_project, make_user
from tests.support.fork_servers import loaded_server
from tests.support.training.runs import make_dataset
from training.core.run_directory import RunDirectory
from training.models import Review, Run
from training.recipes.common import loading
from training.runs.ordering import actions, pauses
from training.runs.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
PROMPTS = [f"Question {n}: why is the sky blue?" for n in range(5, 9)]
CONFIG = {
    "reward_function": "vowels",
    "steps": 12, "batch_size": 8, "max_new_tokens": 12,
    "calibration_episodes": 8, "learning_rate": 1e-3, "learning_rate_schedule": "constant", "kl_coef": 0.0,
    "kl_target": 0.0, "max_approx_kl": 0.0, "stop_kl": 3.0, "min_distinct_ratio": 0.0, "sample_prompts": 1,
    "review_every": 1, "review_samples": 2, "review_waits": True, "kept_checkpoints": 11,
    **tiny_model.NO_FLUENCY_BOUNDS,
}  # fmt: skip


@pytest.mark.thorough
def test_a_run_waits_for_judges_pauses_at_its_bound_and_finishes_when_told(settings):
    settings.FORK_SERVER = str(loaded_server())  # a dozen starts, each of which would load torch
    settings.REWARD_FUNCTIONS = {"vowels": "tests.support.training.ppo_runs.share_of_vowels"}
    project = make_project(eval_percent=0, overlap=1)
    researcher, judge = make_user(project, role="researcher"), make_user(project)
    model = make_model(name="tiny")
    tiny_model.make_elsewhere(model.path)
    run = actions.queue_run(
        kind="ppo", project=project, name="tiny-ppo", by=researcher, parent=model,
        dataset=make_dataset(project, texts=PROMPTS), config=CONFIG,
    )  # fmt: skip
    judged = 0
    for _ in range(30):
        Worker(tick_seconds=0.1).work(once=True)
        run.refresh_from_db()
        if run.state == Run.State.QUEUED:
            continue  # an attempt was lost on the way, as on a machine that is short of something
        if (run.state, run.reason_code) != (Run.State.PAUSED, "waiting_for_people"):
            break
        while task := assignments.next_for(project=project, user=judge):
            review = Review.objects.get(policy_answer__in=[task.completion_a, task.completion_b])
            wins = "model_a" if task.completion_a == review.policy_answer else "model_b"
            feedback.submit(assignment=task, by=judge, winner=wins)
            judged += 1
    assert (run.state, run.reason_code) == ("paused", "kl_limit"), (run.state, run.reason, run.remedy, run.step)
    assert judged > 0 and run.amendments == []
    step = run.pause["step"]
    assert run.metrics.order_by("-step").first().step == step
    pauses.choose(run=run, by=researcher, choice="finish")
    Worker(tick_seconds=0.1).work(once=True)
    run.refresh_from_db()
    assert run.state == "succeeded", (run.reason, run.remedy)
    assert run.result["stopped"]["step"] == step and run.result["step"] < step
    child = LanguageModel.objects.get(name="tiny-ppo")
    assert child.card["amendments"][0]["action"] == "finish" and child.card["config"]["stop_kl"] == 3.0
    kept = list(run.kept_checkpoints.select_related("model"))
    assert [one.step for one in kept] == list(range(1, run.result["step"])), "and none beyond the limit"
    assert all(loading.weights_hash(one.model.path) == one.model.content_hash for one in kept)
    assert not (run.path / "checkpoints").exists() and len({one.model.content_hash for one in kept}) == len(kept)
    assert [a.state for a in run.attempts.all()][-2:] == ["paused", "succeeded"]
    spec = json.loads((run.path / "config.json").read_text())
    assert spec["config"]["review_waits"] is True and RunDirectory(run.path).amendments()[0]["step"] == step
