"""Run the loop once with simulated annotators while the pages can be watched: `manage.py demo`.

Every stage finds what is there and makes what is missing, so that a run that was cut short goes on where it stopped.
`--prepare` loads the finished sample project, says where everything is, and ends: that needs nothing that trains.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.markup import escape

from annotate.core.errors import Refused
from annotate.demo.seed import Seeded, seed
from annotate.models import AnnotatorKind
from annotate.simulation.accounts import password_file
from annotate.simulation.annotator import taste_named
from annotate.simulation.client import ApiError, Unreachable
from evaluation.core.served_model import promoted
from evaluation.demo import log_file
from evaluation.demo.plan import Plan, Turn, TurnStopped
from evaluation.demo.progress_file import Tell, telling
from evaluation.demo.screen import Screen, leaderboard_table
from evaluation.demo.stages import STAGES
from evaluation.leaderboard import snapshots as leaderboard
from evaluation.promotion.checks import from_json
from evaluation.sample.fixture_files import StaleFixture
from evaluation.sample.fixture_loader import NameTaken, load

SAMPLE_PAGES = (
    ("What it is, and what can be done", ""),
    ("Which model is better, and how sure that is", "leaderboard/"),
    ("What was decided, and on what numbers", "decisions/"),
    ("Runs with their curves", "runs/"),
)
SIZES = (
    *("annotators", "completions_per_prompt", "ratings", "comparisons", "battles", "max_new_tokens"),
    "pretrain_tokens",
)


class Command(BaseCommand):
    help = "Seed the demo project and turn the loop once, with simulated annotators."

    def add_arguments(self, parser: ArgumentParser) -> None:
        host, port = os.environ.get("HOST", "127.0.0.1"), os.environ.get("PORT", "8000")
        host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # every address of this machine
        parser.add_argument("--url", default=f"http://{host}:{port}", help="where Assay is served")
        parser.add_argument(
            "--taste", default=Plan.taste, help="the hidden taste: a dotted path (see simulate_annotators)"
        )
        parser.add_argument("--project", default="", help="the project's slug (default: demo, or demo- and the taste)")
        parser.add_argument(
            "--prepare", action="store_true", help="load the sample project, say where everything is, and end"
        )
        parser.add_argument("--model", default=Plan.model, help="what to import: see import_model")
        for name in SIZES:
            parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Plan, name))

    def handle(self, *args: Any, **options: Any) -> None:
        for name in SIZES:
            if options[name] < 1:
                raise CommandError(f"--{name.replace('_', '-')} must be at least 1, not {options[name]}.")
        with log_file.logging_to(settings.DATA_DIR / "logs" / "demo.log"):
            self._play(options)

    def _play(self, options: dict[str, Any]) -> None:
        plan = Plan(model=options["model"], taste=options["taste"], **{name: options[name] for name in SIZES})
        try:
            taste_named(plan.taste)
            slug = options["project"] or _slug(plan.taste)
            seeded = seed(slug=slug, name=_name(slug), max_new_tokens=plan.max_new_tokens)
        except ValueError as error:
            raise CommandError(str(error)) from None
        turn = Turn(options["url"], seeded.project, seeded.researcher, plan)
        self.console = Console(highlight=False, soft_wrap=True)
        if options["prepare"]:
            self._prepare(turn, seeded)
            return
        self._say_where(turn, seeded)
        try:
            with telling(slug) as tell:
                self._turn(turn, tell)
        except TurnStopped as error:
            raise CommandError(str(error)) from error
        self._say_what_came(turn)

    def _prepare(self, turn: Turn, seeded: Seeded) -> None:
        """Load the sample project and print the addresses, the finished one first."""
        try:
            sample, _ = load(member=seeded.researcher)
        except (StaleFixture, NameTaken) as error:
            self.console.print(f"The sample project is left out. {escape(str(error))}")
            sample = None
        self.console.print("\n[bold]Assay[/] opens in a few seconds.")
        if sample is not None:
            self.console.print(f"[bold]{escape(sample.name)}[/]")
            for words, path in SAMPLE_PAGES:
                self.console.print(f"  {words:<40} {turn.page(f'/p/{sample.slug}/{path}')}")
        self.console.print("[bold]A new one, live[/], as soon as what trains is installed")
        self.console.print(f"  {seeded.project.name:<40} {turn.page(f'/p/{turn.project.slug}/')}")
        self._say_account(seeded)

    def _say_where(self, turn: Turn, seeded: Seeded) -> None:
        self.console.print(f"\n[bold]Assay[/] is at {turn.page(f'/p/{turn.project.slug}/')} and can be looked at now.")
        self._say_account(seeded)

    def _say_account(self, seeded: Seeded) -> None:
        self.console.print(
            f"Sign in as [bold]{seeded.account.username}[/], password [bold]{seeded.account.password}[/]"
        )
        self.console.print(f"[dim](kept in {password_file()}). Ctrl-C ends everything.[/]\n")

    def _turn(self, turn: Turn, tell: Tell) -> None:
        screen = Screen(self.console, STAGES, tell)
        with screen.shown():
            for stage in STAGES:
                try:
                    with screen.stage(stage) as report:
                        summary = stage.carry_out(turn, report)
                    screen.finished(summary)
                except (TurnStopped, Refused, ApiError, Unreachable) as error:
                    raise CommandError(f"{stage.title}: {error}") from error

    def _say_what_came(self, turn: Turn) -> None:
        board = leaderboard.current(project=turn.project, judge=AnnotatorKind.SIMULATION)
        self.console.print()
        self.console.print(leaderboard_table(board))
        self._say_what_was_decided(turn)
        pages = (
            (
                "Every decision with its numbers, the rule, and what each rating point has cost",
                f"/p/{turn.project.slug}/decisions/",
            ),
            (
                "Leaderboard, and from each row its model, run, dataset and votes",
                f"/p/{turn.project.slug}/leaderboard/",
            ),
            ("Annotate answers yourself", f"/p/{turn.project.slug}/judge/"),
            ("Ask two models at once in the arena", f"/p/{turn.project.slug}/arena/"),
            ("Runs with their curves", f"/p/{turn.project.slug}/runs/"),
            ("API", "/api/docs/"),
        )
        for page_name, path in pages:
            self.console.print(f"{page_name}: {turn.page(path)}")
        self.console.print("[dim]Served until Ctrl-C.[/]")

    def _say_what_was_decided(self, turn: Turn) -> None:
        """Print what the rule has found about the PPO model, in the words of its history."""
        candidacy = turn.project.candidacies.filter(model=turn.ppo).first()
        if candidacy is None:
            return
        line = candidacy.decisions.exclude(what__in=("enrolled", "promoted")).first()
        served = promoted(turn.project)
        self.console.print()
        if line is not None:
            self.console.print(f"[bold]The rule[/]: {escape(line.sentence)}")
        else:
            waiting = [
                f"{c.title}: {c.found}. {c.more}" for c in from_json(candidacy.evidence.get("checks", [])) if c.more
            ]
            self.console.print(f"[bold]The rule[/] has not decided about {turn.ppo} yet. {escape(' '.join(waiting))}")
        if served is not None:
            self.console.print(f"{escape(str(served.model))} is served by default from now on.")
        self.console.print()


def _slug(taste: str) -> str:
    """Return the project's slug. Tastes must not mix in one project: another taste, another project."""
    return "demo" if taste == Plan.taste else f"demo-{taste.rpartition('.')[2].replace('_', '-')}"[:50]


def _name(slug: str) -> str:
    return "Everyday questions" if slug == "demo" else f"Everyday questions ({slug.removeprefix('demo-')})"
