"""Train reward models with two penalties to choose from instead of seven, for tests that start it many times."""

from __future__ import annotations

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.reward import __main__ as reward
from training.recipes.reward import head_fit


def main(run: RunDirectory, spec: RunSpec) -> None:
    head_fit.RIDGES = (30.0, 3.0)
    reward.main(run, spec)
