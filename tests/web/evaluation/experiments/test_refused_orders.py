"""Each order that cannot be carried out is refused with the name of its field and what to enter instead."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.utils import timezone

from annotate.core.errors import Refused
from annotate.models import Dataset
from evaluation.experiments import arm_methods, order_checks
from evaluation.experiments.arm_methods import Arm

PLAN = {
    **{"arms": ["base", "DPO", "SFT"], "baseline": "base", "family": "baseline", "alpha": 0.05, "seeds": 2},
    **{"judge": "person", "votes_per_pair": 20, "until": None},
}


def refusal(check, *words, **named) -> dict[str, str]:
    with pytest.raises(Refused) as refused:
        check(*words, **named)
    return refused.value.errors


@pytest.mark.parametrize(
    ("arms", "field", "words"),
    [
        ("dpo", "arms", "a list of arms"),
        ([], "arms", "a list of arms"),
        ([{"method": "magic"}], "arms.0.method", "'magic' is not a method"),
        ([{"method": "dpo", "sweep": {"beta": 0.1}}], "arms.0.sweep", "values for each option"),
        ([{"method": "dpo", "sweep": {"beta": [0.1] * 40}}], "arms.0.sweep", "These are 40 arms"),
        ([{"method": "dpo", "config": [1]}], "arms.0.config", "options by their names"),
        ([{"method": "dpo", "config": {"beta": -1}}], "arms.0.config.beta", "must be between"),
        ([{"method": "dpo", "name": "a"}, {"method": "kto", "name": "a"}], "arms", "Two arms are called a"),
        ([{"method": "dpo", "name": "Base"}], "arms", "“base” is the parent's"),
        ([{"method": "dpo", "name": "a\x00"}], "arms", "cannot be stored"),
        ([{"method": "dpo", "name": "a" * 61}], "arms", "use at most 60"),
        ([{"method": "dpo", "name": f"a{n}"} for n in range(40)], "arms", "These are 40 arms"),
    ],
)
def test_arms(arms, field, words):
    assert words in refusal(order_checks.require_arms, arms)[field]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"baseline": "PPO"}, "baseline", "'PPO' is not an arm"),
        ({"family": "some"}, "family", "every arm against every"),
        ({"alpha": "0.05"}, "alpha", "between 0.001 and 0.2"),
        ({"alpha": True}, "alpha", "between 0.001 and 0.2"),
        ({"alpha": 0.5}, "alpha", "between 0.001 and 0.2"),
        ({"seeds": 1}, "seeds", "luck cannot be told"),
        ({"judge": "oracle"}, "judge", "not a kind of annotator"),
        ({"votes_per_pair": None}, "votes_per_pair", "not both"),
        ({"until": "2100-01-31T12:00:00Z"}, "votes_per_pair", "not both"),
        ({"votes_per_pair": 0}, "votes_per_pair", "each of the 3 pairs"),
        ({"votes_per_pair": None, "until": "2100-02-31T12:00:00Z"}, "until", "a moment to come"),
        ({"votes_per_pair": None, "until": timezone.now() - timedelta(1)}, "until", "a moment to come"),
    ],
)
def test_plan(change, field, words):
    order_checks.require_plan(**PLAN)
    errors = refusal(order_checks.require_plan, **{**PLAN, **change})
    assert list(errors) == [field] and words in errors[field]


def test_room():
    assert "at most" in refusal(order_checks.require_room, arm_methods.MOST_ARMS + 1, 2)["arms"]
    assert "order fewer" in refusal(order_checks.require_room, arm_methods.MOST_ARMS, 16)["seeds"]


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        ({"unit": "beers", "amount": 3}, "budget.unit"),
        (["episodes"], "budget.unit"),
        ({"unit": "episodes"}, "budget.amount"),
        ({"unit": "episodes", "amount": float("nan")}, "budget.amount"),
    ],
)
def test_budget(budget, field):
    assert list(refusal(order_checks.require_budget, budget)) == [field]


def test_data_that_the_arms_cannot_learn_from(tmp_path):
    arms = [Arm(name, name, {}, {}) for name in ("dpo", "kto", "sft", "ppo")]
    few = SimpleNamespace(
        name="few", kind=Dataset.Kind.PREFERENCES, judge="model", path=tmp_path,
        counts={"winners": {"model_a": 1}, "enough": False, "sentence": "One of 40."},
    )  # fmt: skip
    (tmp_path / "ratings.jsonl").write_text('{"thumbs": true}\n\n{"thumbs": null}\n')
    errors = refusal(order_checks.check_data, arms, few, has_examples=False, has_reward_model=False)
    assert "choose a dataset of annotations" in errors["dataset"] and "One of 40." in errors["arms"]
    assert "few has 1:" in errors["arms.dpo"] and "few has 1 and 0:" in errors["arms.kto"]
    assert "no well-rated answer" in errors["arms.sft"]
    prompts = SimpleNamespace(name="p", kind=Dataset.Kind.PROMPTS, judge="", path=tmp_path, counts={})
    errors = refusal(order_checks.check_data, arms[3:], prompts, has_examples=False, has_reward_model=True)
    assert errors == {"dataset": "p is a dataset of prompts; choose one of preferences."}
