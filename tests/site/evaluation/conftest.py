"""A project with two models in its arena, for all that lies below; workers in the test's process fork their recipes."""

from __future__ import annotations

import pytest

from tests.support.evaluation.fixtures import base, child, project, vote

__all__ = ["base", "child", "project", "vote"]


@pytest.fixture(autouse=True)
def _recipes_are_forked(recipes_are_forked: None) -> None:
    """Else each run of a test's own worker loads torch and the like anew."""
