"""Open an arena from a file that names its models, on an empty installation, too.

    manage.py open_arena --models models.yaml
    manage.py open_arena --models models.yaml --project "Our arena" --dry-run

A model behind a key names the environment variable that holds it (`key_from: EXAMPLE_KEY`). Each model is asked one
question; those that answer compete. Run it again after a change of the file: it adds and changes what differs.
FastChat's file of API endpoints (`--register-api-endpoint-file`) is read, too.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from annotate.arena.opening import actions, arena_file
from annotate.arena.opening.actions import Outcome, Plan
from annotate.core.chat_api.refusals import Kind
from annotate.core.command_arguments import person_named, refusals_told
from annotate.core.network import outbound
from annotate.models import Project

_SHOWN = 60  # characters of an answer


class Command(BaseCommand):
    help = "Open an arena from a file: its project, its models with their endpoints, each asked one question."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--models", required=True, metavar="FILE", help="YAML, or FastChat's JSON of API endpoints")
        parser.add_argument("--project", default="", help="name or slug of the project (default: as the file says)")
        parser.add_argument("--dry-run", action="store_true", help="ask the models, and write nothing")
        parser.add_argument("--no-questions", action="store_true", help="let models compete without asking them first")
        parser.add_argument("--by", default="", help="username of its manager (default: nobody; superusers manage all)")

    def handle(self, *, models: str, project: str, dry_run: bool, by: str, **options: Any) -> None:
        _require_tables()
        person = person_named(by, "manager") if by else None
        with refusals_told():
            plan = actions.plan(_read(models), environment=os.environ, name=project, by=person)
            self._tell_project(plan, dry_run)
            asks = not options["no_questions"]
            outcomes = actions.rehearse(plan, asks=asks) if dry_run else actions.carry_out(plan, by=person, asks=asks)
            silent = self._tell_models(outcomes, dry_run)
            self._tell_private(plan, silent)
        self._tell_end(plan, dry_run)
        if silent:
            n, of = len(silent), len(plan.steps)
            raise CommandError(f"{n} of {of} models gave no answer: {', '.join(silent)}. Mend them and run this again.")

    def _tell_project(self, plan: Plan, dry_run: bool) -> None:
        project, would = plan.project, "would be " if dry_run else ""
        if plan.is_new:
            self.stdout.write(f"{project.name} ({project.slug}): {would}made.")
        elif plan.changed:
            self.stdout.write(f"{project.name} ({project.slug}): {would}changed: {', '.join(plan.changed)}.")
        else:
            self.stdout.write(f"{project.name} ({project.slug}): as it was.")

    def _tell_private(self, plan: Plan, kinds: dict[str, str]) -> None:
        """Print what lets the site ask models on this machine or in its own network: the first thing that most meet."""
        names = [name for name, kind in kinds.items() if kind == Kind.PRIVATE]
        hosts = {urlsplit(step.unsaved.endpoint).hostname or "" for step in plan.steps if step.entry.name in names}
        if hosts:
            value = ",".join(sorted(hosts))
            self.stdout.write(f"Allow it by {outbound.VARIABLE}={value}, for this command and for the server.")

    def _tell_models(self, outcomes: Iterable[Outcome], dry_run: bool) -> dict[str, str]:
        """Print a line for each, as it is done, and return {name: kind of problem} of those that gave no answer."""
        silent = {}
        for outcome in outcomes:
            what = f"{outcome.what} ({', '.join(outcome.fields)})" if outcome.fields else outcome.what
            if dry_run and outcome.what != actions.SAME:
                what = f"would be {what}"
            self.stdout.write(f"{outcome.name}: {what}; {_answer(outcome, dry_run)}")
            if outcome.checked is not None and not outcome.checked.is_ok:
                silent[outcome.name] = outcome.checked.problem
        return silent

    def _tell_end(self, plan: Plan, dry_run: bool) -> None:
        if others := actions.left_alone(plan):
            self.stdout.write(f"Not in the file, and competing as before: {', '.join(others)}.")
        if dry_run:
            self.stdout.write("Nothing was written.")
            return
        who = "Visitors vote without an account" if plan.project.is_public else "Members of the project vote"
        count = plan.project.contestants.filter(left_at=None).count()
        at = f"/p/{plan.project.slug}/arena/"
        self.stdout.write(f"{count} models compete. {who} at {at} below this site's address.")
        self.stdout.write(
            f"{plan.project.eval_percent} % of what visitors ask ranks the models; votes on the rest may train "
            "(eval_percent of the project, at most 90). Questions that they draw all rank."
        )
        if count < 2:
            self.stdout.write("A battle needs two models: name another one.")


def _require_tables() -> None:
    if Project._meta.db_table not in connection.introspection.table_names():
        raise CommandError("The database has no tables yet: run manage.py migrate, or script/server once.")


def _answer(outcome: Outcome, dry_run: bool) -> str:
    checked = outcome.checked
    enters = "would compete" if dry_run else "competes"
    if checked is None:
        return f"not asked, {enters}."
    if checked.is_ok:
        text = " ".join(checked.answer.split())
        return f"answered in {checked.seconds:.1f} s “{text[:_SHOWN]}{'…' if len(text) > _SHOWN else ''}”, {enters}."
    offered = f" It offers: {', '.join(checked.offered)}." if checked.offered else ""
    still = "still competes" if outcome.competes else f"{'would not' if dry_run else 'does not'} compete"
    return f"no answer, {still}. {checked.what} {checked.remedy}{offered}"


def _read(name: str) -> arena_file.ArenaFile:
    try:
        return arena_file.read(Path(name).read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{name} is not UTF-8; save it as UTF-8.") from error
    except arena_file.ArenaFileError as error:
        raise CommandError(f"{name}:\n{error}") from error
