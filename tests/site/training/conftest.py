"""What tests of runs share."""

from __future__ import annotations

import pytest

from tests.support.fork_servers import VARIABLE, loaded_server


@pytest.fixture(params=["anew", "forked"])
def way_of_starting(request: pytest.FixtureRequest, settings, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the launcher `local` start recipes anew, or fork them, here and in what is started from here."""
    address = str(loaded_server()) if request.param == "forked" else "0"
    settings.FORK_SERVER = address
    monkeypatch.setenv(VARIABLE, address)
    return request.param
