"""Make the sample project's fixture anew from a finished turn: `manage.py export_sample --project demo`."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import project_named
from evaluation.sample.fixture_files import FIXTURE
from evaluation.sample.fixture_writer import NotExported, export


class Command(BaseCommand):
    help = "Write the sample project's fixture from a finished turn of the demo (needs torch, to cut adapters)."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", default="demo", help="the slug of the project whose turn is finished")
        parser.add_argument("--folder", type=Path, default=FIXTURE, help="where the fixture is written")
        parser.add_argument(
            "--ranks", type=int, nargs="+", default=[1, 2], help="what adapters are cut to, in the order of their runs"
        )

    def handle(self, *, project: str, folder: Path, ranks: list[int], **options: Any) -> None:
        if min(ranks) < 1:
            raise CommandError(f"--ranks must be at least 1, not {min(ranks)}.")
        try:
            found = export(project_named(project), folder, ranks=ranks)
        except NotExported as error:
            raise CommandError(str(error)) from error
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        self.stdout.write(f"{sum(found['tables'].values())} rows and {size / 1e6:.1f} MB are in {folder}.")
