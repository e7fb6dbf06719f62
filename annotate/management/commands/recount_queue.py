"""Make a project's queue anew from its assignments: manage.py recount_queue PROJECT …"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.actions import priorities, queue
from annotate.actions.choosing import reserved_in, urgent_pairs
from annotate.models import Project


class Command(BaseCommand):
    help = "Make the queue of each project named anew, and ask what models are unsure of."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("projects", nargs="+", metavar="PROJECT", help="slug of a project")

    def handle(self, *args: Any, **options: Any) -> None:
        for slug in options["projects"]:
            project = Project.objects.filter(slug=slug).first()
            if project is None:
                known = ", ".join(Project.objects.values_list("slug", flat=True)[:20])
                raise CommandError(f"There is no project {slug!r}; there are {known or 'none yet'}.")
            prompts = queue.recount(project, reserved_in(urgent_pairs(project)))
            waiting = priorities.renew(project)
            self.stdout.write(f"{slug}: {prompts:,} prompts counted, {waiting:,} items by uncertainty.")
