"""A recipe whose checkpoint is larger than the file system that a test gives it."""

from __future__ import annotations

from training.core.run_directory import RunDirectory, RunSpec
from training.recipes.common.entry import run_recipe


def main(run: RunDirectory, spec: RunSpec) -> None:
    (run.begin_checkpoint(1) / "small").write_bytes(b"x" * 1000)
    run.commit_checkpoint(1)
    (run.begin_checkpoint(2) / "large").write_bytes(b"x" * 5_000_000)
    run.commit_checkpoint(2)
    run.finish({})


if __name__ == "__main__":
    run_recipe(main)
