"""What an experiment and rounds take, told before they are ordered: votes, models, and what judges are asked."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.urls import reverse

from evaluation.experiments import foresight
from evaluation.experiments.arm_methods import METHODS
from tests.support.api_client import Program
from tests.support.factories import make_model, make_prompt, sign_in
from tests.support.training.runs import finished
from training import configs

pytestmark = pytest.mark.django_db


@pytest.fixture
def judge(project):
    return make_model(
        name="theirs", project=project, folder="", endpoint="http://127.0.0.1:9/v1", served_name="small",
        prompt_price="2.5", completion_price="10",
    )  # fmt: skip


def arm(line: str) -> dict[str, Any]:
    rewards = f"reward_model\njudge judge=theirs {line}"
    config = {"steps": 5, "batch_size": 8, "rewards": rewards, "trust_unproven_reward": True}
    return {"method": "grpo", "config": config}


def test_the_form_of_an_experiment_says_how_many_votes_and_models_it_takes(project, order, client):
    sign_in(client, project, "researcher")
    address = reverse("new-experiment", args=[project.slug])
    assert "for each of 10 pairs of arms" in client.get(address).content.decode(), "four arms and the base"
    asked = {"method": ["sft", "dpo"], "options.dpo": "beta=0.1, 0.5; kept_checkpoints=2", "seeds": "2",
             "votes_per_pair": "10", "takes_checkpoints": "on", "name": "so far"}  # fmt: skip
    page = client.get(address, asked).content.decode()
    assert "waits for 60 votes of people: 10 for each of 6 pairs" in page
    assert "3 arms with 2 seeds: 6 models, and up to 8 kept checkpoints." in page and 'value="so far"' in page
    page = client.get(address, asked | {"seeds": "1"}).content.decode()
    assert "<li>Seeds: " in page and "luck cannot be told from the method" in page
    page = client.get(address, asked | {"options.dpo": "beta=zero"}).content.decode()
    assert "<li>DPO: beta: must be a number" in page, "its arm is named"
    page = client.get(address, asked | {"options.sft": "epochs"}).content.decode()
    assert f"<li>Options of {METHODS['sft'].title}: " in page
    assert not project.experiments.exists()


def test_the_form_says_how_long_the_models_take_by_runs_like_theirs(project, order, client):
    sign_in(client, project, "researcher")
    address = reverse("new-experiment", args=[project.slug])
    asked = {"method": ["ppo", "dpo"], "seeds": "2", "parent": order["parent"].pk}
    page = client.get(address, asked).content.decode()
    assert "How long that takes is not known. Unknown, since no run like theirs has finished here: PPO, DPO." in page
    finished(project, "ppo", 600, {"reward_function": "a.b"}, parent=order["parent"])
    page = client.get(address, asked).content.decode()
    assert "1 of these arms takes about 20 min, one run after the other, by runs like these here." in page
    assert "Unknown, since no run like theirs has finished here: DPO." in page
    twice = client.get(address, asked | {"options.ppo": f"steps={2 * configs.PPOConfig.steps}"}).content.decode()
    minutes = int(re.search(r"takes about (\d+) min", twice)[1])
    assert 30 <= minutes < 40, "time grows with the steps, but for calibration and the start"


def test_the_form_stands_where_a_budget_asks_for_more_steps_than_an_arm_with_a_preset_may_have(project, order, client):
    sign_in(client, project, "researcher")
    asked = {"method": ["ppo"], "options.ppo": "preset=table; rewards=judge judge=theirs", "unit": "episodes",
             "amount": "1e14", "parent": order["parent"].pk}  # fmt: skip
    page = client.get(reverse("new-experiment", args=[project.slug]), asked)
    assert "The judge theirs grades about" in page.content.decode()


def test_an_experiment_says_how_many_answers_a_judge_grades_and_what_that_costs(
    project, order, judge, client, researcher
):
    path = f"projects/{project.slug}/experiments/"
    body = {field: order[field] for field in ("seeds", "votes_per_pair")} | {
        "parent": order["parent"].pk, "dataset": order["dataset"].pk, "reward_model": order["reward_model"].pk,
    }  # fmt: skip
    answer = Program(researcher).post(path, body | {"name": "a", "arms": [arm("max_tokens=100")]})
    assert answer.status_code == 201, answer.content
    [said] = answer.json()["foreseen"]
    # 2 seeds of 5 steps of 8 answers, and a reply of 100 tokens to each: 0.08 dollars, beside what the judge reads.
    assert said.startswith("The judge theirs grades about 80 answers: at most about $0.")
    assert 0.08 < float(said.rpartition("$")[2].split()[0]) < 0.3
    page = client.get(reverse("experiment", args=[project.slug, answer.json()["id"]])).content.decode()
    assert "The judge theirs grades about 80 answers" in page
    limited = [arm("max_cost=0.01"), arm("max_cost=0.02") | {"name": "again"}]
    answer = Program(researcher).post(path, body | {"name": "b", "arms": limited})
    assert answer.json()["foreseen"] == [
        "The judge theirs grades about 160 answers: at most about $0.06 by its prices."
    ]


def test_rounds_say_what_they_ask_of_people_and_of_a_judge(project, order, judge, client, researcher):
    sign_in(client, project, "researcher")
    address = reverse("new-rounds", args=[project.slug])
    page = client.get(address, {"rounds": "4", "judgements": "100", "votes": "50"}).content.decode()
    assert "400 comparisons and 200 votes in all 4 rounds" in page
    assert "<li>Rounds at most: Enter a whole number" in client.get(address, {"rounds": "many"}).content.decode()
    for number in range(20):
        make_prompt(project, f"More {number}")
    body = {"name": "r", "parent": order["parent"].pk, "rounds": 3, "judgements": 80, "answers_per_prompt": 8}
    answer = Program(researcher).post(f"projects/{project.slug}/rounds/", body | arm("max_cost=0.01"))
    assert answer.status_code == 201, answer.content
    page = client.get(reverse("round-series", args=[project.slug, answer.json()["id"]])).content.decode()
    assert "The judge theirs grades about 120 answers: at most about $0.03 by its prices." in page


def test_one_pair_of_arms_is_no_plural():
    stop = {"votes": 20, "votes_per_pair": 20, "pairs": 1}
    assert "20 for the one pair of arms, the base among them" in foresight.votes_in_words(stop, "person")
