"""What the tests of reward models share."""

from __future__ import annotations

import pytest

from tests.support.training import reward_of_two_penalties


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Choose between few penalties and priors."""
    reward_of_two_penalties.try_few(monkeypatch)


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw intervals that nobody reads from few samples."""
    reward_of_two_penalties.draw_few(monkeypatch)
