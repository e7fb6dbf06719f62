"""Freeze a file's rows, or those of a dataset on the Hugging Face hub, into a dataset of a project.

    manage.py import_dataset reviews.csv --project films --kind labelled --task sentiment
    manage.py import_dataset alpaca.json --project everyday --kind sft
    manage.py import_dataset questions.jsonl --project everyday --kind task
    manage.py import_dataset hub:glue/sst2 --project films --kind labelled --limit 5000
    manage.py import_dataset example:sentiment --project films --kind labelled

What is known of a hub name (`annotate/data/rows/hub_tasks.py`) fills in task, columns and labels. A hub is read as a
stream: no more than `--limit` rows are fetched. `example:` names one of the small datasets of
`annotate/data/rows/example_tasks.py`.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotate.core.command_arguments import person_named, project_named, refusals_told
from annotate.core.typed_texts import named_values
from annotate.data.rows import hub_rows
from annotate.data.rows.example_tasks import EXAMPLES
from annotate.data.rows.hub_tasks import HubTask, hub_task
from annotate.data.rows.row_files import FORMATS
from annotate.data.rows.row_source import FileRow
from annotate.data.rows.task_families import TASKS
from annotate.data.uploads.actions import freeze_rows, upload
from annotate.data.uploads.uploaded_rows import KINDS, Uploaded
from common.training_packages import PackageMissing, require_package

HUB, EXAMPLE = "hub:", "example:"


class Command(BaseCommand):
    help = "Freeze the rows of a file, or of a dataset on a hub, into a dataset."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("source", help="a file, hub:<name> such as hub:glue/sst2, or example:<task>")
        parser.add_argument("--project", required=True, help="the project's slug")
        parser.add_argument("--kind", required=True, choices=KINDS)
        parser.add_argument("--name", default="", help="default: the file's or the hub's name")
        parser.add_argument("--task", default="", choices=["", *TASKS], help="labelled: default what the columns fit")
        parser.add_argument("--format", default="auto", choices=FORMATS)
        parser.add_argument("--columns", default="", help="text=sentence,label=class")
        parser.add_argument("--labels", default="", help="0=negative,1=positive")
        parser.add_argument("--skip-bad", action="store_true", help="leave out lines that cannot be used")
        parser.add_argument("--split", default="train", help="of a hub's dataset (default: train)")
        parser.add_argument("--limit", type=int, default=10_000, help="rows taken from a hub (default: 10000)")
        parser.add_argument("--by", default="", help="username of a researcher (default: the first superuser)")

    def handle(self, *, source: str, project: str, by: str, columns: str, labels: str, **options: Any) -> None:
        with refusals_told():
            fields = {
                "project": project_named(project),
                "by": person_named(by, "researcher"),
                "columns": named_values(columns, "columns"),
                "labels": named_values(labels, "labels"),
                **{name: options[name] for name in ("kind", "task", "skip_bad")},
            }
            if source.startswith(HUB):
                done = _from_hub(source.removeprefix(HUB), options, fields)
            elif source.startswith(EXAMPLE):
                done = _from_example(source, options, fields)
            else:
                done = _from_file(Path(source), options, fields)
        self._tell(done)

    def _tell(self, done: Uploaded) -> None:
        assert done.dataset is not None
        existing = "" if done.is_new else " stood already"
        self.stdout.write(f"{done.dataset.name}{existing}: {done.rows:,} rows, hash {done.dataset.content_hash[:12]}")
        for reason, n in done.left_out.items():
            self.stdout.write(f"left out: {n:,} {reason}")
        for bad in done.bad:
            self.stdout.write(f"line {bad.line} {bad.reason}")


def _from_file(path: Path, options: dict[str, Any], fields: dict[str, Any]) -> Uploaded:
    if not path.is_file():
        raise CommandError(f"There is no file {path}.")
    with path.open("rb") as file:
        name = options["name"] or path.name
        return upload(name=name, file=file, file_name=path.name, format=options["format"], **fields)


def _from_hub(source: str, options: dict[str, Any], fields: dict[str, Any]) -> Uploaded:
    hub_dataset = hub_task(source)
    if fields["kind"] == "labelled":
        fields["task"] = fields["task"] or hub_dataset.task
        fields["columns"] = fields["columns"] or dict(hub_dataset.columns)
        fields["labels"] = fields["labels"] or dict(hub_dataset.labels)
    rows = _hub_rows(hub_dataset, options["split"], options["limit"])
    return freeze_rows(name=options["name"] or source, rows=rows, origin=f"{HUB}{source} {options['split']}", **fields)


def _from_example(source: str, options: dict[str, Any], fields: dict[str, Any]) -> Uploaded:
    task = source.removeprefix(EXAMPLE)
    if task not in EXAMPLES or fields["kind"] != "labelled":
        raise CommandError(f"The examples are labelled, and of one of these: {', '.join(EXAMPLES)}.")
    fields["task"] = task
    rows = (FileRow(number, row) for number, row in enumerate(EXAMPLES[task](), start=1))
    return freeze_rows(name=options["name"] or source, rows=rows, origin=source, **fields)


def _hub_rows(hub_dataset: HubTask, split: str, limit: int) -> Iterator[FileRow]:
    try:
        require_package("datasets", "Reading from the hub")
        for number, row in enumerate(hub_rows.stream(hub_dataset, split, limit), start=1):
            yield FileRow(number, row)
    except (PackageMissing, hub_rows.HubProblem) as problem:
        raise CommandError(str(problem)) from problem
    except Exception as error:  # a hub raises what it likes: no network, no such name, a gated repository
        raise CommandError(
            f"{hub_dataset.path} cannot be read from the hub: {error}\n"
            "Check its name and the network (HF_HUB_OFFLINE must not be set), or download it and give the file."
        ) from error
