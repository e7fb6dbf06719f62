"""Make a link that lets one person annotate, for the fourth of five steps to a trained child.

manage.py invite_annotator --project everyday
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.urls import reverse

from annotate.core.command_arguments import person_named, project_named, refusals_told
from annotate.models import Role
from annotate.projects.invitations import DAYS, invite


class Command(BaseCommand):
    help = "Print a link that lets one person into a project; it works once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--role", default=Role.ANNOTATOR, choices=Role.values)
        parser.add_argument("--language", default="", help="languages that they read, such as de,pt-BR (default: all)")
        parser.add_argument("--by", default="", help="username of a manager (default: the first superuser)")

    def handle(self, *, project: str, role: str, language: str, by: str, **options: Any) -> None:
        with refusals_told():
            _, token = invite(
                project=project_named(project), role=role, language=language, by=person_named(by, "manager")
            )
        self.stdout.write(f"{settings.SITE_URL}{reverse('invitation', args=[token])}")
        self.stdout.write(f"It works once, and for {DAYS} days.")
