"""What an order of an experiment needs."""

from __future__ import annotations

from typing import Any

import pytest

from annotate.data.datasets.actions import freeze
from annotate.models import LanguageModel
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_project,
    make_prompt,
    make_rating,
    make_user,
)
from tests.support.training.runs import make_weights

ARMS = [{"method": "sft"}, {"method": "dpo", "sweep": {"beta": [0.1, 0.5]}}, {"method": "best_of"}]


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def order(project, researcher) -> dict[str, Any]:
    """Feedback of the train split, frozen; prompts of the eval split; and a model to start from."""
    annotator = make_user(project)
    for number in range(12):
        prompt = make_prompt(project, f"Train {number}")
        good, bad = make_completion(prompt, f"Good {number}."), make_completion(prompt, f"Bad {number}.")
        make_comparison(good, bad, "model_a", annotator)
        make_rating(good, annotator, thumbs=True)
        make_rating(bad, annotator, thumbs=False)
    make_prompt(project, "Nobody has annotated this.")
    for number in range(3):
        make_prompt(project, f"Eval {number}", side="eval")
    dataset = freeze(project=project, kind="preferences", name="judgements", by=None)
    reward = make_weights(kind=LanguageModel.Kind.REWARD)
    return {
        "project": project, "by": researcher, "name": "methods", "parent": make_weights(), "dataset": dataset,
        "arms": ARMS, "seeds": 2, "votes_per_pair": 4, "reward_model": reward,
    }  # fmt: skip
