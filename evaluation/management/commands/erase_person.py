"""Erase a person's data: name, addresses, sessions, tokens, memberships and comments.

    manage.py erase_person ada                                     says what would go and what stays; writes nothing
    manage.py erase_person ada --do --reason "asked on 3 March"    erases; annotations stay under a number
    manage.py erase_person ada --do --votes exclude                and none of them counts any more

Frozen datasets and models keep what they have learned: they are listed, and marked. See docs/guides/accounts.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.core.errors import Refused
from annotate.models import User
from evaluation.annotator_quality.exclusion_effects import Touched
from evaluation.installation.erasure.erasing import EXCLUDE, KEEP, Plan, erase, name_after, plan


class Command(BaseCommand):
    help = "Erase a person's data; without --do, say what would go and what stays."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the account's name; after an erasure it is erased-NUMBER")
        parser.add_argument("--do", action="store_true", help="erase; without it nothing is written")
        parser.add_argument(
            "--votes",
            choices=(KEEP, EXCLUDE),
            default=KEEP,
            help="keep: annotations count under a number; exclude: none counts any more",
        )
        parser.add_argument("--reason", default="", help="for the audit trail; name nobody in it")

    def handle(self, *args: Any, name: str, do: bool, votes: str, reason: str, **options: Any) -> None:
        person = User.objects.filter(username=name.replace("\x00", "")).first()
        if person is None:
            raise CommandError(f"There is no account {name!r}. One that was erased is called erased-NUMBER.")
        try:
            planned = plan(person)
            self._tell(planned, votes)
            if not do:
                self.stdout.write("Nothing was written. Erase with --do; a backup of before holds it until it is gone.")
                return
            erase(planned, votes=votes, reason=reason)
        except Refused as refused:
            raise CommandError(" ".join(refused.errors.values())) from refused
        self.stdout.write(
            f"Erased: the account is {name_after(person)} now. Backups and logs of before hold the data until they are "
            "deleted."
        )

    def _tell(self, planned: Plan, votes: str) -> None:
        person = planned.person
        if planned.is_done:
            self.stdout.write(f"{person.username} is erased already.")
        else:
            self.stdout.write(f"Account {person.pk}, {person.username}: name, addresses and password go.")
        self._list("deleted", planned.gone)
        self._list("emptied", planned.emptied)
        self._list("renamed in", planned.renamed)
        self._list("stays, for it is the work itself", planned.texts)
        for project, touched in planned.touched.items():
            self._tell_project(project.slug, touched, votes)

    def _list(self, title: str, numbers: Mapping[str, int]) -> None:
        for what, n in numbers.items():
            self.stdout.write(f"  {title}: {what}, {n:,}")

    def _tell_project(self, slug: str, touched: Touched, votes: str) -> None:
        counted = sum(touched.changing.values())
        what = "count no more" if votes == EXCLUDE else "go on counting, under a number"
        self.stdout.write(f"Project {slug}: {counted:,} annotations {what}.")
        for each in touched.datasets:
            self.stdout.write(
                f"  dataset {each.dataset.pk} ({each.dataset.name}) holds {each.judgements:,} of them for good; marked"
            )
        for model in touched.models:
            served = ", served by default" if model.is_served else ""
            self.stdout.write(f"  model {model.model.pk} ({model.model.name}) learned from them{served}; marked")
        moves = [place.model.name for place in touched.places if place.moves]
        if touched.votes:
            without = f"; without them these ranks move: {', '.join(moves) or 'none'}" if votes == EXCLUDE else ""
            self.stdout.write(f"  {touched.votes:,} of them rank models{without}")
