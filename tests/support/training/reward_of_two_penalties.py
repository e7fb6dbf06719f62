"""Train reward models with two penalties to choose from instead of seven, and intervals from few samples, for tests
that start it many times."""

from __future__ import annotations

from functools import partial

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import run_recipe
from training.recipes.reward import __main__ as reward
from training.recipes.reward import head_fit, reward_accuracy


def main(run: RunDirectory, spec: RunSpec) -> None:
    head_fit.RIDGES = (30.0, 3.0)
    reward_accuracy.bootstrap = partial(reward_accuracy.bootstrap, resamples=50)
    reward.main(run, spec)


if __name__ == "__main__":
    run_recipe(main)
