"""Sweeps spread out into arms, and one budget becomes the options of each method."""

from __future__ import annotations

import pytest

from evaluation.experiments import arm_methods
from training import configs
from training.core.kinds import KINDS


def test_a_sweep_is_one_arm_for_each_combination():
    arm = {"method": "dpo", "config": {"epochs": 2.0}, "sweep": {"beta": [0.1, 0.3], "loss": ["sigmoid", "ipo"]}}
    expanded = arm_methods.expanded(arm)
    assert [name for name, _ in expanded][:2] == ["DPO beta=0.1 loss=sigmoid", "DPO beta=0.1 loss=ipo"]
    assert expanded[3][1] == {"epochs": 2.0, "beta": 0.3, "loss": "ipo"}
    assert arm_methods.expanded({"method": "best_of", "config": {"candidates": 8}})[0][0] == "Best-of-8"
    swept = arm_methods.expanded({"method": "best_of", "sweep": {"candidates": [2, 8]}})
    assert [name for name, _ in swept] == ["Best-of-N candidates=2", "Best-of-N candidates=8"]


@pytest.mark.parametrize(
    ("kind", "config", "options"),
    [
        ("ppo", {"batch_size": 16}, {"steps": 16}),
        ("grpo", {"batch_size": 64}, {"steps": 4}),
        ("rejection", {"candidates": 4}, {"max_prompts": 64}),
        ("dpo", {}, {"epochs": 2.56}),
        ("best_of", {}, {"candidates": 3}),
    ],
)
def test_a_budget_of_answers_becomes_steps_prompts_or_epochs(kind, config, options):
    assert arm_methods.within_budget(kind, config, 256.0, 100) == options
    configs.parse(kind, config | options)


def test_tokens_are_episodes_of_the_longest_answer():
    tokens = arm_methods.answer_tokens("ppo", {"max_new_tokens": 32})
    assert arm_methods.episodes_of(arm_methods.Budget("tokens", 3200.0), tokens) == 100


def test_every_method_is_a_kind_of_run_and_takes_what_that_takes():
    for method in arm_methods.METHODS.values():
        if method.kind:
            kind = KINDS[method.kind]
            of = {"examples": "sft", "preferences": "preferences", "prompts": "prompts", "questions": "prompts"}
            assert kind.dataset_kind == of[method.takes], method.name
            assert kind.takes_reward_model == (method.needs_reward and not method.draws_examples), method.name
