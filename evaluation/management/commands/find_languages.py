"""Find the language of every eval prompt that has none yet. New votes find theirs by themselves; this does all at once.

python manage.py find_languages [--project SLUG]
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotate.core.command_arguments import project_named
from evaluation.leaderboard.votes.languages import find_all


class Command(BaseCommand):
    help = "Find the language of every eval prompt that has none yet."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--project", help="of this one alone, by its slug")

    def handle(self, *args: Any, **options: Any) -> None:
        slug = options["project"]
        project = project_named(slug) if slug else None
        n_found = 0
        for n in find_all(project):
            n_found += n
            self.stdout.write(f"{n_found:,} prompts")
        self.stdout.write(f"Done: the language of {n_found:,} prompts was found.")
