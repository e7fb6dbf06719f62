"""What an order of rounds needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.factories import make_project, make_prompt
from tests.support.training.runs import make_weights


@pytest.fixture
def project():
    return make_project()


@pytest.fixture
def order(project, researcher) -> dict[str, Any]:
    """Prompts of both splits, and a model to begin with."""
    for number in range(24):
        make_prompt(project, f"Train {number}")
    for number in range(3):
        make_prompt(project, f"Eval {number}", side="eval")
    return {
        "project": project, "by": researcher, "name": "rounds", "parent": make_weights(), "method": "dpo",
        "judgements": 24, "answers_per_prompt": 3, "votes": 10, "rounds": 2, "gain": 100.0,
    }  # fmt: skip
