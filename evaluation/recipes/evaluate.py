"""Measure one model: `config.measure` says how, and a module of that name carries it out.

    python -m evaluation.recipes.evaluate RUN_DIR

Each module has `measure(run, spec, config) -> Measured`. What is the same for all of them stands in `outcome`: the
figures with their intervals, with and without items that the training data holds, and the files.
"""

from __future__ import annotations

from importlib import import_module

from evaluation.recipes.common import outcome
from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import config_of, run_recipe

MODULES = {
    "perplexity": "evaluation.recipes.perplexity",
    "overlap": "evaluation.recipes.overlap",
    "choices": "evaluation.recipes.choices",
    "classification": "evaluation.recipes.classification",
    "reward_accuracy": "evaluation.recipes.reward_accuracy",
    "win_rate": "evaluation.recipes.win_rate",
    "fluency": "evaluation.recipes.fluency",
}


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = config_of(spec)
    measured = import_module(MODULES[config.measure]).measure(run, spec, config)
    run.progress("figures", 0, 1)
    outcome.finish(run, spec, config, measured)


if __name__ == "__main__":
    run_recipe(main)
