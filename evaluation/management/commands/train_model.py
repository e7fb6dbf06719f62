"""Train on what was annotated, the last of five steps to a trained child (docs/guides/first-model.md).

    manage.py train_model --project everyday
    manage.py train_model --project everyday --kind kto --name everyday-kto

Without --kind by the recipe that is proposed; --dry-run says which one, and why.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import person_named, project_named, refusals_told
from annotate.models import Project
from evaluation.first_model import facts, present, training_order
from evaluation.first_model.recipe_choice import KINDS
from evaluation.first_model.run_following import follow


class Command(BaseCommand):
    help = "Train a child of the project's model on its annotations; it enters the arena."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--kind", default="", choices=["", *KINDS], help="default: what is proposed")
        parser.add_argument("--name", default="", help="of the child (default: by its parent and recipe)")
        parser.add_argument("--dry-run", action="store_true", help="only say what is proposed, and why")
        parser.add_argument("--queue", action="store_true", help="do not wait for the run")
        parser.add_argument("--by", default="", help="username of a researcher (default: the first superuser)")

    def handle(self, *, project: str, kind: str, name: str, by: str, **options: Any) -> None:
        where, user = project_named(project), person_named(by, "researcher")
        self._say_choice(where)
        if options["dry_run"]:
            return
        with refusals_told():
            run = training_order.train(project=where, by=user, kind=kind, name=name, waits=True)
        assert run is not None
        self.stdout.write(f"Queued {run}.")
        if options["queue"]:
            return
        follow(run, self.stdout.write)
        path = facts.path_of(where)
        if path.problem:
            raise CommandError(f"PPO did not begin. {path.problem}")
        if path.training_run is not None and path.training_run != run:
            follow(path.training_run, self.stdout.write)
        self.stdout.write(f"{facts.child_of(facts.path_of(where))} competes in {where}.")

    def _say_choice(self, project: Project) -> None:
        path = facts.path_of(project)
        annotated, choice = facts.choice_of(path)
        for row in present.training_options(path, annotated, choice):
            mark = "proposed" if row.is_proposed else "possible" if row.option.is_possible else "not yet"
            time = f" {row.time.capitalize()}." if row.option.is_possible else ""
            self.stdout.write(f"{row.option.title} ({mark}): {row.option.reason}{time}")
        if choice.instead_of_ppo:
            self.stdout.write(choice.instead_of_ppo)
