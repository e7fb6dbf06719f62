"""Load the sample project, a finished turn of the demo, or remove it: `manage.py load_sample [--remove]`."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.models import User
from evaluation.sample.fixture_files import StaleFixture
from evaluation.sample.fixture_loader import NameTaken, load
from evaluation.sample.removal import StillUsed, remove
from evaluation.sample.sample_project import sample_project


class Command(BaseCommand):
    help = "Load the sample project: votes, runs, models and decisions of a real turn, for looking around."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--member", default="", help="a user who becomes a manager of it, to see every page")
        parser.add_argument("--remove", action="store_true", help="remove it with all that was added to it since")

    def handle(self, *, member: str, remove: bool, **options: Any) -> None:
        if remove:
            self._remove()
            return
        user = User.objects.filter(username=member).first()
        if member and user is None:
            raise CommandError(f"There is no user {member!r} to make a member of it.")
        try:
            project, is_new = load(member=user)
        except (StaleFixture, NameTaken) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{project} is {'loaded' if is_new else 'there already; nothing was changed'}: /p/{project.slug}/"
        )
        self.stdout.write(
            "Its models answer once their base is here: manage.py import_model bundled, and then this again."
        )

    def _remove(self) -> None:
        project = sample_project()
        if project is None:
            raise CommandError("There is no sample project here; manage.py load_sample loads it.")
        try:
            count = remove(project)
        except StillUsed as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"The sample project is removed: {count} rows, and the files of its runs.")
