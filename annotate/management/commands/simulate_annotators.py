"""Let simulated annotators annotate: `manage.py simulate_annotators --url … --project demo --comparisons 600`.

They are made if need be (users that say they are simulated, members of the project), sign in with passwords kept in
ASSAY_DATA, and go through the HTTP API like anyone.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import project_named
from annotate.simulation import accounts, session
from annotate.simulation.annotator import Annotator, Habits, taste_named
from annotate.simulation.client import ApiError, Unreachable


def _meaning(name: str) -> str:
    return "stars less than others would give" if name == "severity" else "a probability"


class Command(BaseCommand):
    help = "Let simulated annotators annotate completions and vote in the arena, through the HTTP API."

    def add_arguments(self, parser: ArgumentParser) -> None:
        here = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
        parser.add_argument("--url", default=here, help="where Assay is served (default: on this machine, at PORT)")
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--annotators", type=int, default=6, help="how many work at once")
        parser.add_argument("--ratings", type=int, default=0, help="completions to rate")
        parser.add_argument("--comparisons", type=int, default=0, help="pairs to compare")
        parser.add_argument("--battles", type=int, default=0, help="votes in the arena, on drawn prompts")
        parser.add_argument(
            "--taste",
            default="annotate.simulation.tastes.addresses_the_reader",
            help="dotted path of taste(prompt_text, completion_text) -> 0 (bad) to 1 (good)",
        )
        parser.add_argument("--seed", type=int, default=0)
        for name, value in vars(Habits()).items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value, help=_meaning(name))

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_named(options["project"])
        try:
            taste = taste_named(options["taste"])
            habits = Habits(**{name: options[name] for name in vars(Habits())})
        except ValueError as error:
            raise CommandError(str(error)) from None
        if options["annotators"] < 1:
            raise CommandError("--annotators must be at least 1.")
        try:
            members = accounts.simulated(project, options["annotators"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        people = [
            (account, Annotator(taste, habits, seed=options["seed"] * 1000 + number))
            for number, account in enumerate(members)
        ]
        wanted = {name: options[name] for name in ("ratings", "comparisons", "battles")}
        try:
            report = session.hold(options["url"], project.slug, people, **wanted)
        except Unreachable as error:
            raise CommandError(
                f"{error}. Serve the site (script/server), and give its address: --url http://127.0.0.1:8010, say."
            ) from None
        except ApiError as error:
            raise CommandError(f"{options['url']}: {error}") from None
        self.stdout.write(
            ", ".join(f"{n} × {kind}" for kind, n in report.judged.items()) or "nothing was left to annotate",
        )
        if lacking := report.lacking(**wanted):
            what = ", ".join(f"{n} × {kind}" for kind, n in lacking.items())
            self.stdout.write(f"{what} were not made: these annotators have annotated or skipped what was left")
        self.stdout.write(f"{report.seconds:.1f} s, {report.per_second:.1f} annotations/s")
