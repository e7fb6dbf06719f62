"""Show which scales another tool's labelling interface proposes for a project, and add them where that is said.

manage.py propose_scales interface.xml --project everyday
manage.py propose_scales .argilla/settings.json --project everyday --apply
"""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import project_named, refusals_told
from annotate.labelling.scales import proposing


class Command(BaseCommand):
    help = "Propose a project's scales from Label Studio's labelling XML or Argilla's settings.json."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="labelling XML, or settings.json of Argilla")
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--apply", action="store_true", help="add them; else nothing is changed")

    def handle(self, *, file: str, project: str, apply: bool, **options: object) -> None:
        home = project_named(project)
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{file} cannot be read: {error}.") from error
        with refusals_told():
            proposed = (proposing.take if apply else proposing.look)(project=home, text=text, by=None)
        for one in proposed.new:
            required = ", required" if one.is_required else ""
            self.stdout.write(f"{'added' if apply else 'new'}: {one.kind} {one.name}{required} ({one.origin})")
        for one, scale in proposed.standing:
            self.stdout.write(f"there already: {scale.kind} {scale.name} ({one.origin})")
        for name in proposed.settings:
            self.stdout.write(f"{'switched on' if apply else 'would be switched on'}: {name}")
        for note in proposed.notes:
            self.stdout.write(f"note: {note}")
        if not apply:
            self.stdout.write("Nothing was changed; --apply adds them.")
