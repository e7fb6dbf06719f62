"""The worker process: carries out queued runs until it is told to end."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.core.gauges.heartbeats import beating
from annotate.models import ProcessHeartbeat
from common.training_packages import PackageMissing, require_package
from training.core import parent_watchdog
from training.runs.launchers import local, module_named
from training.runs.launchers.local import GRACE_SECONDS
from training.runs.queue import cluster_launches
from training.runs.worker import Worker

_ON_CLUSTER = 32  # a worker only follows them there


class Command(BaseCommand):
    help = "Carry out queued runs: sampling, training, evaluating. Ctrl-C gives what is under way back to the queue."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when nothing is queued")
        parser.add_argument("--name", default="", help="how this worker is called on the pages")
        parser.add_argument(
            "--concurrency", type=int, help=f"runs at the same time (default 1; {_ON_CLUSTER} on a cluster)"
        )

    def handle(self, *args: Any, once: bool, name: str, concurrency: int | None, **options: Any) -> None:
        if module_named(settings.RUN_LAUNCHER) == local.__name__:  # another launcher may train elsewhere
            _require_training()
            if not once:
                local.preload()
        worker = Worker(name=name, concurrency=1)
        most = _ON_CLUSTER if cluster_launches.outlives(worker.launcher) else 1
        worker.concurrency = max(1, most if concurrency is None else concurrency)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: worker.end())
        parent_watchdog.watch_parent(GRACE_SECONDS + 5)  # its recipes get their grace, also when the runner is gone
        self.stdout.write(f"Worker {worker.identity} is ready.")
        with beating(worker.identity, ProcessHeartbeat.Kind.WORKER):
            worker.work(once=once)


def _require_training() -> None:
    """Refuse to claim runs that could only fail here."""
    try:
        require_package("torch", "Carrying out runs")
    except PackageMissing as error:
        raise CommandError(str(error)) from error
