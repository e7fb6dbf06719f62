from __future__ import annotations

import pytest

from training.rl import kept_states


@pytest.fixture
def frozen_layers_run_again(monkeypatch):
    """As they are beside actors: the states that a run by itself keeps while sampling differ by rounding."""
    monkeypatch.setattr(kept_states, "MOST_BYTES", 0)
