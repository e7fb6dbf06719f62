"""Write a project's feedback into a file that other tools read.

    manage.py export_feedback everyday votes.jsonl --format lmarena
    manage.py export_feedback everyday pairs.parquet --format trl-preference --side train
    manage.py export_feedback everyday - --format hh-rlhf --status counted --status held > pairs.jsonl

The file's name says of which kind it is: .jsonl, .json, .csv or .parquet, the first three also .gz.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import person_named, project_named, refusals_told
from annotate.data.exports.actions import FILES, OWN, export_feedback
from annotate.data.formats import FORMATS
from annotate.models import AnnotatorKind, Split, Status
from common import atomic_files


class Command(BaseCommand):
    help = "Write a project's feedback into a file: hh-rlhf, TRL, LMArena, Label Studio, Argilla, our own rows, …"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("project", help="its slug")
        parser.add_argument("output", help="a file that is not there yet, or - for the standard output")
        parser.add_argument("--format", default=OWN, choices=list(FORMATS))
        parser.add_argument("--file", default="", choices=["", *FILES], help="default: as the output is called")
        parser.add_argument("--judge", default=AnnotatorKind.PERSON, choices=AnnotatorKind.values)
        parser.add_argument(
            "--status", action="append", choices=Status.values, help="again for more (default: counted)"
        )
        parser.add_argument("--side", default="", choices=["", *Split.values])
        parser.add_argument("--source", action="append", default=[], help="annotation, arena or an import's name")
        parser.add_argument("--measures", action="store_true", help="with gold items, repeats and the tutorial")
        parser.add_argument("--by", default="", help="username of a reviewer (default: the first superuser)")

    def handle(self, *, project: str, output: str, by: str, file: str, **options: Any) -> None:
        settings.DEBUG = False  # else Django keeps the text of every statement
        options_by_name = {name: options[name] for name in ("format", "judge", "side", "measures")}
        options_by_name |= {
            "statuses": tuple(options["status"] or [Status.COUNTED]),
            "sources": tuple(options["source"]),
        }
        with refusals_told():
            export = export_feedback(
                project=project_named(project),
                by=person_named(by, "reviewer"),
                file=file or _kind(output),
                **options_by_name,
            )
        if output == "-":
            sys.stdout.buffer.writelines(export.parts)
            return
        path = Path(output)
        n_bytes = _write(path, export.parts)
        self.stdout.write(f"{path}: {n_bytes:,} bytes")


def _write(path: Path, parts: Any) -> int:
    """Write under another name until the file is whole."""
    if path.exists():
        raise CommandError(f"{path} is there already; name another file.")
    try:
        with atomic_files.replacing(path, is_synced=False) as partial, partial.open("wb") as opened:
            opened.writelines(parts)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from error
    return path.stat().st_size


def _kind(output: str) -> str:
    name = output.lower()
    return next((kind for kind in FILES if name.endswith(f".{kind}")), "")
