"""Push what an installation has on its disk into the storage of ASSAY_STORAGE, verify it there, or bring it here.

    manage.py store_artefacts                      what is not stored yet, of all models, datasets, runs and uploads
    manage.py store_artefacts --verify             read all of it there, and compare every hash
    manage.py store_artefacts --again runs/000012  over what is damaged there
    manage.py store_artefacts --bring models/base  onto this host: for a model server, say
    manage.py store_artefacts --unnamed            list what is there of models, datasets and runs without a row
    manage.py store_artefacts --forget runs/000012 delete such a one there; its files go when the storage is swept

What is to be there is what rows of the database name.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.core.artefacts import local_copies
from common.artefacts.storage_problems import StorageProblem
from training.storage import disk_usage, stored_artefacts
from training.storage.stored_artefacts import Artefact


class Command(BaseCommand):
    help = "Push models, datasets, runs and uploads into ASSAY_STORAGE, verify them there, or bring them here."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", help="such as models/base, runs/000012 (default: all)")
        action = parser.add_mutually_exclusive_group()
        action.add_argument("--verify", action="store_true", help="read them in the storage and compare every hash")
        action.add_argument("--again", action="store_true", help="write them anew, also what seems to be there")
        action.add_argument("--unnamed", action="store_true", help="list what no row names since a day or longer")
        action.add_argument("--forget", action="store_true", help="delete the named ones, which no row names")
        action.add_argument("--bring", action="store_true", help="fetch the named ones to this host")

    def handle(
        self, *args: Any, names: list[str], verify: bool, again: bool, bring: bool, unnamed: bool, forget: bool,
        **options: Any,
    ) -> None:  # fmt: skip
        if not local_copies.is_on():
            raise CommandError("Set ASSAY_STORAGE: a folder that is there, or s3://bucket/prefix.")
        if unnamed or forget:
            return self._without_row(names, is_forgotten=forget)
        if bring and not names:
            raise CommandError("Name what to bring, such as models/base.")
        problems = 0
        for artefact in _chosen(names, is_brought=bring):
            try:
                self.stdout.write(f"{artefact.name}: {self._act(artefact, verify, again, bring)}")
            except StorageProblem as problem:
                problems += 1
                self.stderr.write(f"{artefact.name} ({artefact.label}): {problem}")
        if problems:
            raise CommandError(f"{problems} of them need attention; each is named above.")

    def _without_row(self, names: list[str], *, is_forgotten: bool) -> None:
        """List what no row names; delete the named ones of these."""
        try:
            found = {one.name: one for one in stored_artefacts.unnamed()}
            if is_forgotten and not names:
                raise CommandError("Name what to forget, of what --unnamed lists.")
            if strange := [name for name in names if name not in found]:
                raise CommandError(f"A row names {', '.join(strange)}, or it is not there, or not since a day.")
            for one in [found[name] for name in names] or found.values():
                if is_forgotten:
                    local_copies.store().delete(one.name)
                about = f"{disk_usage.size_in_words(one.size)}, stored {one.stored_at:%Y-%m-%d}"
                self.stdout.write(f"{one.name}: {'forgotten, ' * is_forgotten}{about}")
        except StorageProblem as problem:
            raise CommandError(str(problem)) from problem

    def _act(self, artefact: Artefact, verify: bool, again: bool, bring: bool) -> str:
        if verify:
            manifest = local_copies.store().verify(artefact.name)
            return f"whole, {len(manifest.entries)} files, {disk_usage.size_in_words(manifest.size)}"
        if bring:
            local_copies.bring(artefact.path)
            if not artefact.path.exists():
                local_copies.store().manifest(artefact.name)  # says that it is not stored
            return f"at {artefact.path}"
        if not artefact.is_here:
            manifest = local_copies.store().manifest(artefact.name)
            return f"not on this host, and stored: {disk_usage.size_in_words(manifest.size)}"
        manifest = artefact.push(is_trusting=not again)
        return f"stored, {len(manifest.entries)} files, {disk_usage.size_in_words(manifest.size)}"


def _chosen(names: list[str], *, is_brought: bool) -> list[Artefact]:
    """Return the artefacts of these names; all that rows name, where none is given. Raises CommandError."""
    if is_brought:
        return [Artefact(settings.DATA_DIR / name, "as named") for name in names]
    artefacts = {artefact.name: artefact for artefact in stored_artefacts.expected()}
    if unknown := [name for name in names if name not in artefacts]:
        raise CommandError(f"No row names {', '.join(unknown)}; without names, all that rows name is listed.")
    return [artefacts[name] for name in names] if names else list(artefacts.values())
