"""Count all votes anew from the ledger and set them beside the counts that leaderboards are fitted to.

    python manage.py recount_votes           compares; makes wrong counts anew
    python manage.py recount_votes --check   compares, and changes nothing

Ends with 1 and says what differed when counts and ledger disagreed.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.models import Comparison
from evaluation.leaderboard.recount import differences
from evaluation.leaderboard.votes.counts import rebuild


class Command(BaseCommand):
    help = "Count all votes anew from the ledger; ends with 1 and says what differed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        vote_differences = differences()
        if not vote_differences:
            self.stdout.write(f"The counts agree with the ledger of {Comparison.objects.count():,} comparisons.")
            return
        for difference in vote_differences:
            self.stderr.write(str(difference))
        if not options["check"]:
            rebuild()
            self.stderr.write("They were made anew from the ledger.")
        raise CommandError(f"{len(vote_differences)} of the counts differed from the ledger.", returncode=1)
