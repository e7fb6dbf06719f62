"""A recipe without a model, for tests of the queue: `python -m tests.support.training.fake_recipe RUN_DIR`.

It counts steps, logs, checkpoints and resumes like a real one, and dies in every way that its config asks for.
`starts.txt` and `steps.txt` in the run directory tell a test how often it began and which steps it took.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from training import configs
from training.configs import option
from training.core.run_directory import RecipeFailure, RunDirectory, RunSpec, read_lines
from training.recipes.common.entry import run_recipe


@dataclass(frozen=True)
class FakeConfig:
    steps: int = option(4, "steps", low=1, high=100000)
    step_seconds: float = option(0.0, "seconds a step takes", low=0, high=60)
    checkpoint_every: int = option(2, "steps between checkpoints", low=1, high=1000)
    death: str = option("", "how it dies in its first attempt, after three steps")
    always: bool = option(False, "it dies in every attempt")
    ignores_sigterm: bool = option(False, "it and a child of its own ignore SIGTERM")
    samples: bool = option(False, "it leaves completions behind, and no checkpoint that could tell how far it came")
    batch_size: int = option(8, "of no effect", low=1, high=4096)
    learning_rate: float = option(3e-4, "of no effect", low=1e-8, high=1)
    note: str = option("", "an advanced text", advanced=True)


configs.CONFIGS.setdefault("fake", FakeConfig)


def main(run: RunDirectory, spec: RunSpec) -> None:
    config = FakeConfig(**spec.config)
    with (run.path / "starts.txt").open("a") as file:
        file.write(f"{os.getpid()}\n")
    starts = len((run.path / "starts.txt").read_text().split())
    if config.ignores_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])  # inherits the ignoring
        (run.path / "child.txt").write_text(str(child.pid))
    latest = run.latest_checkpoint()
    done = int((latest / "step").read_text()) if latest else 0
    if config.samples:
        done = len(list(read_lines(run.path / "completions.jsonl")))
    run.truncate_logs(done)
    for step in range(done + 1, config.steps + 1):
        time.sleep(config.step_seconds)
        with (run.path / "steps.txt").open("a") as file:
            file.write(f"{starts}:{step}\n")
        run.log_metrics(step, score=step / 10, kl=0.5 * step, odd=float("nan"), attempt=starts)
        run.log_sample(step, [{"role": "user", "content": "Why?"}], f"Because of step {step}.\x00", step / 10)
        run.progress("counting", step, config.steps)
        if config.samples:
            run.log_completions({"prompt_id": 0, "index": step})
        print(f"step {step}")
        if step % config.checkpoint_every == 0:
            folder = run.begin_checkpoint(step)
            (folder / "step").write_text(str(step))
            run.commit_checkpoint(step)
        if step == done + 3 and config.death and (starts == 1 or config.always):
            _die(config.death, run)
    folder = run.begin_model()
    (folder / "weights.bin").write_text(f"{spec.seed} {config.steps}")
    run.commit_model()
    run.finish({"score": config.steps / 10, "odd": float("inf"), "parameters": 7})


def _die(death: str, run: RunDirectory) -> None:
    if death == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif death == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif death == "exit":
        print("the dog ate the gradients", file=sys.stderr, flush=True)
        os._exit(3)
    elif death == "nothing":
        os._exit(0)
    elif death == "failure":
        raise RecipeFailure("too_few", "Three annotations tell nothing.", "Collect at least 40.")
    elif death == "full disk":
        (run.path / ".failure.json.partial").symlink_to("/dev/full")  # nor is there room for what went wrong
        raise OSError(errno.ENOSPC, "No space left on device")
    elif death == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**26, resource.RLIM_INFINITY))
        held = [bytearray(2**24) for _ in range(64)]
        raise AssertionError(f"{len(held)} blocks fitted into a fraction of their size")
    elif death == "abort for want of memory":
        print("terminate called after throwing an instance of 'std::bad_alloc'", file=sys.stderr, flush=True)
        os.abort()
    elif death == "no room":
        with Path("/dev/full").open("w") as file:
            file.write("x")
    elif death == "missing file":
        (run.path / "data" / "rows.jsonl").read_text()
    elif death == "diverged":
        raise RecipeFailure("not_finite", "The loss was nan: training diverged.", "Queue it again more slowly.")
    elif death == "own remedy":
        raise RecipeFailure("too_wild", "It was too wild.", "Fewer steps.", {"steps": 2})
    elif death == "hang":
        time.sleep(300)
    raise ValueError(f"unknown death {death!r}")


if __name__ == "__main__":
    run_recipe(main)
