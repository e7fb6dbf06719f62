"""Run the background worker: imports, deliveries and other small work in the database, until it is told to end."""

from __future__ import annotations

import signal
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from annotate.core import heap
from annotate.core.background_worker import BackgroundWorker
from annotate.core.periodic_tasks import PERIODIC_TASKS


class Command(BaseCommand):
    help = "Do what waits to be done: imports, deliveries to webhooks, votes to be held. Ctrl-C ends it in good order."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end when nothing more is to be done at the moment")
        names = list(PERIODIC_TASKS)
        parser.add_argument(
            "--only", action="append", choices=names, help="only this periodic task; several times for several"
        )

    def handle(self, *args: Any, once: bool, only: list[str] | None, **options: Any) -> None:
        settings.DEBUG = False  # else Django keeps the text of every statement
        worker = BackgroundWorker([task for name, task in PERIODIC_TASKS.items() if not only or name in only])
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: worker.end())
        heap.settle()
        self.stdout.write("The background worker is ready.")
        worker.work(once=once)
