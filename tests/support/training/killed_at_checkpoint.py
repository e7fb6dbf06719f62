"""Run a recipe until its first checkpoint is complete, and kill all its processes there with signal 9.

`KILLED_RECIPE=training.recipes.sft python -m tests.support.training.killed_at_checkpoint RUN_DIR`, by the launcher too.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.support.training.killing import main_of
from training.core.run_directory import RunDirectory
from training.recipes.common import steps
from training.recipes.common.entry import run_recipe
from training.recipes.common.processes import Processes

VARIABLE = "KILLED_RECIPE"


def main() -> None:
    save = steps.save_checkpoint

    def save_and_die(run: RunDirectory, together: Processes, step: int, **state: Any) -> None:
        save(run, together, step, **state)
        together.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    steps.save_checkpoint = save_and_die
    run_recipe(main_of(os.environ[VARIABLE]))


if __name__ == "__main__":
    main()
