"""A project with two models in its arena, for all that lies below; workers in the test's process fork their recipes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.evaluation.fixtures import base, child, project, vote
from tests.support.fork_servers import loaded_server

__all__ = ["base", "child", "project", "vote"]


@pytest.fixture(autouse=True)
def _recipes_are_forked(settings: Any) -> None:
    """Else each run of a test's own worker loads torch and the like anew: the settings were read before the server
    had an address."""
    settings.FORK_SERVER = str(loaded_server())
