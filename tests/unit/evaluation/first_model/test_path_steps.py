"""Which of the five steps comes next."""

from __future__ import annotations

import pytest

from evaluation.first_model.path_steps import Facts, current_step, steps

MODEL = {"has_model": True}
PROMPTS = {**MODEL, "prompts": 5}
ANSWERS = {**PROMPTS, "answers": 10}


@pytest.mark.parametrize(
    ("facts", "step"),
    [
        ({}, "model"),
        ({"prompts": 5, "answers": 10, "has_annotations": True}, "model"),
        (MODEL, "prompts"),
        ({**PROMPTS, "is_importing": True}, "prompts"),
        (PROMPTS, "answers"),
        ({**ANSWERS, "is_sampling": True}, "answers"),
        ({**PROMPTS, "has_annotations": True}, "annotations"),  # a file of pairs needs no answers
        (ANSWERS, "annotations"),
        ({**ANSWERS, "has_annotations": True}, "annotations"),  # training begins when somebody orders it
        ({**ANSWERS, "has_training": True}, "training"),
        ({**ANSWERS, "has_training": True, "is_importing": True}, "training"),
    ],
)
def test_the_first_step_that_is_not_done(facts, step):
    assert current_step(Facts(**facts)) == step


def test_steps_before_the_current_one_are_done_and_those_behind_it_come_later():
    assert [step.state for step in steps(Facts(**PROMPTS))] == ["done", "done", "now", "later", "later"]
    assert [step.number for step in steps(Facts())] == [1, 2, 3, 4, 5]


def test_with_a_child_every_step_is_done():
    facts = Facts(**ANSWERS, has_annotations=True, has_training=True, has_child=True)
    assert {step.state for step in steps(facts)} == {"done"}
