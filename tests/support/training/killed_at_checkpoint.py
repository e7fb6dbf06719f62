"""Run a recipe until its first complete checkpoint, and kill the process that writes it there with signal 9.

`KILLED_RECIPE=training.recipes.sft KILLED_FILE=state.pt python -m tests.support.training.killed_at_checkpoint RUN_DIR`,
by the launcher too. A checkpoint counts once it holds that file: a reward model's first ones are of another stage. One
of step 0 does not: nothing has learnt.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.training.killing import main_of
from training.core.run_directory import RunDirectory
from training.recipes.common.entry import run_recipe

RECIPE, FILE = "KILLED_RECIPE", "KILLED_FILE"


def main() -> None:
    commit = RunDirectory.commit_checkpoint

    def commit_and_die(self: RunDirectory, step: int, keep: int = 2) -> Path:
        folder = commit(self, step, keep)
        if step > 0 and (folder / os.environ[FILE]).exists():
            os.kill(os.getpid(), signal.SIGKILL)
        return folder

    RunDirectory.commit_checkpoint = commit_and_die  # type: ignore[method-assign]
    run_recipe(main_of(os.environ[RECIPE]))


if __name__ == "__main__":
    main()
