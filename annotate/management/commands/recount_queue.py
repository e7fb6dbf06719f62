"""Make a project's queue anew from its assignments: manage.py recount_queue PROJECT …"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from annotate.core.command_arguments import project_named
from annotate.labelling.queue import entries as queue
from annotate.labelling.queue import priorities
from annotate.labelling.queue.urgent_items import reserved_in, urgent_pairs


class Command(BaseCommand):
    help = "Make the queue of each project named anew, and ask what models are unsure of."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("projects", nargs="+", metavar="PROJECT", help="slug of a project")

    def handle(self, *args: Any, **options: Any) -> None:
        for slug in options["projects"]:
            project = project_named(slug)
            prompts = queue.recount(project, reserved_in(urgent_pairs(project)))
            waiting = priorities.renew(project)
            self.stdout.write(f"{slug}: {prompts:,} prompts counted, {waiting:,} items by uncertainty.")
