"""What the tests of reward models share."""

from __future__ import annotations

from functools import partial

import pytest

from training.recipes.reward import reward_accuracy


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw intervals that nobody reads from few samples."""
    monkeypatch.setattr(reward_accuracy, "bootstrap", partial(reward_accuracy.bootstrap, resamples=50))
