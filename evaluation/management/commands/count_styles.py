"""Count length, headers, lists and bold of every judged answer: what style control needs, once for each answer."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotate.core.command_arguments import project_named
from annotate.models import AnnotatorKind
from evaluation.leaderboard.votes.answer_styles import count_missing


class Command(BaseCommand):
    help = "Count the style of judged answers, so that the leaderboard can be shown without its effect."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_named(options["project"])
        n_counted = sum(count_missing(project, judge) for judge in AnnotatorKind.values)
        self.stdout.write(f"{n_counted:,} answers counted.")
