"""Keep a worker from new runs, for maintenance, and let it go on afterwards."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.core import audit
from training.runs.queue import drains


class Command(BaseCommand):
    help = (
        "Keep a worker from new runs: it finishes those that it has. The mark stays when the worker is started anew. "
        "Without a name: list the marks, and whether those workers are draining or drained."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "name", nargs="?", default="", help="of a worker (run_worker --name), of a host, or both: gpu@node-3"
        )
        parser.add_argument(
            "--now", action="store_true", help="its runs go back into the queue, and on from their checkpoints"
        )
        parser.add_argument("--undo", action="store_true", help="let it take runs again")

    def handle(self, *args: Any, name: str, now: bool, undo: bool, **options: Any) -> None:
        if (now or undo) and not name:
            raise CommandError("Name the worker: manage.py drain_worker NAME.")
        if now and undo:
            raise CommandError("Use either --now or --undo.")
        if undo:
            if not drains.undo(name):
                raise CommandError(f"No worker {name} is drained; manage.py drain_worker lists those that are.")
            audit.record(action="worker.undrained", about=name, by=None)
            self.stdout.write(f"{name} takes runs again.")
            return
        if name:
            drains.drain(name, gives_back=now)
            audit.record(action="worker.drained", about=name, by=None)
        for one in drains.drained_workers():
            if not name or one.name == name:
                self.stdout.write(f"{one.name}: {one.state}, {one.runs} run{'' if one.runs == 1 else 's'} at work")
