"""Verify that rows, the files that they name, and what is counted of them agree; nothing is changed.

    manage.py verify            reads every file and compares every hash
    manage.py verify --quick    reads no contents: what is there, and how long it is

Ends with 1, and one line for each fault with its row, its file and the remedy. Files that no row names are listed, and
are no fault.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from evaluation.installation.spoken_progress import SpokenProgress
from evaluation.installation.verification.all_checks import faults
from evaluation.installation.verification.faults import Look
from evaluation.installation.verification.unnamed_files import unnamed


class Command(BaseCommand):
    help = "Verify that rows, their files and their counts agree; ends with 1 and one line for each fault."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--quick", action="store_true", help="read no contents of files")

    def handle(self, *args: Any, quick: bool, **options: Any) -> None:
        look = Look(is_quick=quick, say=SpokenProgress(self.stderr.write))
        count = 0
        for name, found in faults(look):
            self.stdout.write(f"{name}: {len(found) or 'no'} fault{'' if len(found) == 1 else 's'}")
            for fault in found:
                self.stderr.write(str(fault))
            count += len(found)
        if not count:
            for name in unnamed(look):
                self.stdout.write(f"no row names {name}")
        if count:
            raise CommandError(f"{count} fault{'' if count == 1 else 's'}, each named above.", returncode=1)
        self.stdout.write("Rows, files and counts agree.")
