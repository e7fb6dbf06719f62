"""Queue a run from a file: its order as YAML, as any run's page gives it out.

manage.py queue_run run-7.yaml
manage.py queue_run run-7.yaml --name tidewater-sft-8 --project tidewater --set learning_rate=1e-4
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import project_named, refusals_told
from annotate.models import User
from training.runs.ordering import actions
from training.runs.ordering import order_files as orders


class Command(BaseCommand):
    help = "Queue a run from its order as YAML."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", help="a YAML file; - reads the standard input")
        parser.add_argument("--project", default="", help="the slug of a project (default: the one in the file)")
        parser.add_argument("--name", default="", help="of the run, and of its model (default: the one in the file)")
        parser.add_argument("--user", default="", help="who starts it (default: the only superuser)")
        parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="change one option")

    def handle(self, *, file: str, project: str, name: str, user: str, **options: Any) -> None:
        with refusals_told():
            order = orders.read(_text(file))
            config = order.get("config") or {}
            if changes := _changes(options["set"]):
                order["config"] = {**(config if isinstance(config, dict) else {}), **changes}
            project_row = project_named(project or str(order.get("project") or ""))
            resolved = orders.resolve(order | ({"name": name} if name else {}), project_row)
            run = actions.queue_run(project=project_row, by=_user(user), **resolved.arguments)
        for note in resolved.notes:
            self.stdout.write(note)
        self.stdout.write(f"Queued {run}.")


def _text(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} cannot be read: {error}") from error


def _changes(texts: list[str]) -> dict[str, Any]:
    """Read changes such as `learning_rate=1e-4`, with the value as YAML has it."""
    changes: dict[str, Any] = {}
    for text in texts:
        option, sign, value = text.partition("=")
        if not sign or not option:
            raise CommandError(f"--set takes OPTION=VALUE, such as learning_rate=1e-4, not {text!r}.")
        changes[option] = orders.value_of(value)
    return changes


def _user(name: str) -> User:
    if name:
        user = User.objects.filter(username=name).first()
        if user is None:
            raise CommandError(f"There is no user {name!r}; name one who may start runs in the project.")
        return user
    superusers = list(User.objects.filter(is_superuser=True)[:2])
    if len(superusers) != 1:
        raise CommandError("Say who starts the run: --user NAME.")
    return superusers[0]
