"""Delete the checkpoints that the rule lets go; the worker does the same once a day."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotate.core import audit
from training.storage import disk_usage, pruning


class Command(BaseCommand):
    help = "Delete checkpoints that nobody needs: " + " ".join(pruning.RULE)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only say what would go")
        parser.add_argument("--at-once", action="store_true", help="wait for no day to pass after a run has ended")

    def handle(self, *args: Any, dry_run: bool, at_once: bool, **options: Any) -> None:
        prune = pruning.prune(dry_run=dry_run, at_once=at_once)
        for one in prune:
            if not dry_run:
                about = f"{one.run.kind} {one.run.name}, by the rule: {one.size} bytes"
                audit.record(action="checkpoints.pruned", about=about, by=None, project=one.run.project)
            names = ", ".join(folder.name for folder in one.folders)
            self.stdout.write(f"{one.run} ({one.run.state}): {names}: {disk_usage.size_in_words(one.size)}")
        total = disk_usage.size_in_words(sum(one.size for one in prune))
        self.stdout.write(f"Would free {total}." if dry_run else f"Freed {total}.")
