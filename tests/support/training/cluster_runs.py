"""Runs on a cluster, for tests: a worker beside the test, and what must be true of a run whatever has died."""

from __future__ import annotations

import threading

from tests.support.training.runs import in_a_thread, lines_of
from training.models import Run
from training.runs.worker import Worker


class Working:
    """A worker in a thread of its own, until the block ends."""

    def __init__(self, name: str = "test") -> None:
        self.worker = Worker(name=name, concurrency=4, tick_seconds=0.2)
        self._thread = threading.Thread(target=in_a_thread(self.worker.work))

    def __enter__(self) -> Worker:
        self._thread.start()
        return self.worker

    def __exit__(self, *_: object) -> None:
        self.worker.end()
        self._thread.join(60)


def is_finished(run: Run) -> bool:
    return Run.objects.get(pk=run.pk).is_finished


def has_steps(run: Run, step: int = 4) -> bool:
    """Whether a run of the fake kind has kept that checkpoint, or a later one."""
    kept = (run.path / "checkpoints").glob("step-*")
    return any(int(path.name.removeprefix("step-")) >= step for path in kept) or (run.path / "result.json").exists()


def assert_each_step_once_and_no_two_at_once(run: Run, steps: int) -> None:
    run.refresh_from_db()
    assert (run.state, run.reason) == ("succeeded", "")
    assert [metric.step for metric in run.metrics.all()] == list(range(1, steps + 1))
    assert [metric.sequence for metric in run.metrics.all()] == list(range(1, steps + 1))
    written = [int(line.split(":")[0]) for line in lines_of(run.path / "steps.txt")]
    assert written == sorted(written), "never two at once"
    assert run.output_model is not None and run.attempts.filter(state="succeeded").count() == 1
