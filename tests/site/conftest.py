"""What tests with real processes share."""

from __future__ import annotations

import pytest

from tests.support.fork_servers import start_server


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    """Recipes of all sites are forked from one process."""
    start_server()
