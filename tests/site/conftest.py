"""What tests with real processes share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.fork_servers import loaded_server, start_server


@pytest.fixture(scope="session", autouse=True)
def _fork_server() -> None:
    """Recipes of all sites are forked from one process."""
    start_server()


@pytest.fixture
def recipes_are_forked(settings: Any) -> None:
    """Those of workers in the test's own process, too: the settings were read before the server had an address."""
    settings.FORK_SERVER = str(loaded_server())
