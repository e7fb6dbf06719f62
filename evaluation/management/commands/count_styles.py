"""Count length, headers, lists and bold of every judged answer: what style control needs, once for each answer."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.models import Judge, Project
from evaluation.arena.styles import count_missing


class Command(BaseCommand):
    help = "Count the style of judged answers, so that the leaderboard can be shown without its effect."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = Project.objects.filter(slug=options["project"]).first()
        if project is None:
            slugs = ", ".join(Project.objects.values_list("slug", flat=True)) or "none"
            raise CommandError(f"There is no project {options['project']!r}; the projects are: {slugs}.")
        counted = sum(count_missing(project, judge) for judge in Judge.values)
        self.stdout.write(f"{counted:,} answers counted.")
