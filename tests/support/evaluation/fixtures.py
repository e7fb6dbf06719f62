"""Votes on a project's eval split, made directly."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from annotate.models import Comparison, LanguageModel, Project
from tests.support.factories import (
    make_comparison,
    make_completion,
    make_contestant,
    make_model,
    make_project,
    make_prompt,
)
from tests.support.factories import make_user as make_person

_visitors = itertools.count(1)


@pytest.fixture
def project(db) -> Project:
    return make_project(name="Everyday questions")


@pytest.fixture
def base(project) -> LanguageModel:
    return make_contestant(project, make_model(name="tide-base", stage="base")).model


@pytest.fixture
def child(project, base) -> LanguageModel:
    return make_contestant(project, make_model(name="tide-sft", stage="SFT", parent=base)).model


@pytest.fixture
def vote(project) -> Callable[..., list[Comparison]]:
    """`vote(a, b, "model_a", 3)`: three votes between answers of two models, on a new prompt of the eval split."""

    def cast(a: LanguageModel, b: LanguageModel, winner: str = "model_a", n: int = 1, **fields) -> list[Comparison]:
        prompt = make_prompt(project, side=fields.pop("side", "eval"))
        answers = make_completion(prompt, model=a), make_completion(prompt, model=b)
        author = fields.pop("author", None) or make_person(is_simulated=fields.pop("is_simulated", False))
        return [make_comparison(*answers, winner, author, **fields) for _ in range(n)]

    return cast
