"""Train reward models with few penalties and priors to choose from, and intervals from few samples, for tests that
train them many times."""

from __future__ import annotations

from functools import partial

import pytest

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import run_recipe
from training.recipes.reward import __main__ as reward
from training.recipes.reward import annotator_effects, head_fit, reward_accuracy


def try_few(patch: pytest.MonkeyPatch) -> None:
    """Have two penalties tried instead of seven, and two priors of annotators instead of five."""
    patch.setattr(head_fit, "RIDGES", (30.0, 3.0))
    patch.setattr(annotator_effects, "RELIABILITIES", (0.6,))
    patch.setattr(annotator_effects, "SHIFTS", (0.3,))


def draw_few(patch: pytest.MonkeyPatch, resamples: int = 50) -> None:
    """Have intervals drawn from few samples: so few where nobody reads them."""
    patch.setattr(reward_accuracy, "bootstrap", partial(reward_accuracy.bootstrap, resamples=resamples))


def main(run: RunDirectory, spec: RunSpec) -> None:
    with pytest.MonkeyPatch.context() as patch:
        try_few(patch)
        draw_few(patch)
        reward.main(run, spec)


if __name__ == "__main__":
    run_recipe(main)
