"""Turn labelled datasets of a project into instructions: look at what would come of it, or freeze an SFT dataset."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction

from annotate.core import audit
from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.core.events import announce_dataset
from annotate.core.permissions import require
from annotate.core.typed_texts import checked_name
from annotate.data import frozen_rows
from annotate.data.datasets.actions import check_name_of_rows, name_taken
from annotate.data.rows.task_families import TASKS
from annotate.data.uploads.leakage_guard import EvalPrompts
from annotate.models import Dataset, Project, User
from common import splits
from training.instructions.mixing import MixCounts, Options, Row, Source, mix, quotas
from training.instructions.sandbox import TemplateRefused
from training.instructions.templating import Instruction, read_instruction

PREVIEWED = 400  # rows: their shares tell what all of them would be
_SHOWN = 8
_MOST_SOURCES = 50
_BOUNDS: dict[str, tuple[float, float]] = {
    "cap": (1, 1_000_000),
    "limit": (1, 5_000_000),
    "templates_per_row": (1, 10),
    "inverted_share": (0, 1),
    "few_shot_share": (0, 1),
    "most_shots": (1, 16),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class OwnTemplate:
    task: str
    text: str


@dataclass(frozen=True)
class Preview:
    """Counts of the first rows that would be made, a few of them to look at, and how many there would be in all."""

    counts: MixCounts
    rows: list[Row]
    total: int

    @property
    def templates(self) -> list[tuple[str, int]]:
        return self.counts.by_template.most_common()

    @property
    def frames(self) -> list[tuple[str, int]]:
        return self.counts.by_frame.most_common()

    @property
    def left_out(self) -> list[tuple[str, int]]:
        return self.counts.left_out.most_common()


def preview(
    *, project: Project, datasets: Sequence[Dataset], templates: Sequence[OwnTemplate] = (), **options: Any
) -> Preview:
    """Return what `instruct` would make. It is refused as that would be."""
    sources = _sources(project, datasets, templates)
    chosen = _checked(options)
    counts = MixCounts()
    total = sum(quotas([s.size for s in sources], chosen)) * chosen.templates_per_row
    fewer = dataclasses.replace(chosen, limit=min(PREVIEWED, chosen.limit or PREVIEWED))
    rows = list(_reported(mix(sources, fewer, counts, EvalPrompts(project).keeps_out)))
    return Preview(counts, _varied(rows), total)


def instruct(
    *,
    project: Project,
    datasets: Sequence[Dataset],
    name: str,
    by: User,
    templates: Sequence[OwnTemplate] = (),
    **options: Any,
) -> tuple[Dataset, bool]:
    """Return (the SFT dataset, whether it is new): the same sources, templates and options give the standing one."""
    require(by, "research", project)
    name = checked_name(name)
    sources = _sources(project, datasets, templates)
    chosen = _checked(options)
    counts = MixCounts()
    rows = _reported(mix(sources, chosen, counts, EvalPrompts(project).keeps_out))
    first = next(rows, None)
    if first is None:
        raise Refused(
            400, datasets=f"All rows would be left out ({dict(counts.left_out)}); choose more rows or templates."
        )
    content_hash = frozen_rows.write_streamed(
        {"examples": itertools.chain([first], rows)}, kind=Dataset.Kind.SFT, side=splits.TRAIN,
        check=partial(check_name_of_rows, project, Dataset.Kind.SFT, name),
    )  # fmt: skip
    if standing := project.datasets.filter(kind=Dataset.Kind.SFT, content_hash=content_hash).order_by("id").first():
        return standing, False
    return _record(project, name, by, content_hash, _counts(counts, datasets, templates, chosen)), True


def _record(project: Project, name: str, by: User, content_hash: str, counts: dict[str, Any]) -> Dataset:
    try:
        with transaction.atomic():
            dataset = Dataset.objects.create(
                project=project,
                kind=Dataset.Kind.SFT,
                name=name,
                side=splits.TRAIN,
                content_hash=content_hash,
                counts=counts,
                created_by=by,
            )
            audit.record(action="dataset.frozen", about=f"{name} (sft, train)", by=by, project=project)
            announce_dataset(dataset)
            return dataset
    except IntegrityError as error:  # a double click: its twin came first
        raise name_taken(project, name) from error


def _counts(
    counts: MixCounts, datasets: Sequence[Dataset], templates: Sequence[OwnTemplate], options: Options
) -> dict[str, Any]:
    return {
        "examples": counts.examples,
        "templates": dict(counts.by_template.most_common()),
        "frames": dict(counts.by_frame.most_common()),
        "sources": dict(counts.by_source),
        "with solved examples": counts.examples - counts.by_shots[0],
        "made_from": [{"id": d.pk, "name": d.name, "hash": d.content_hash} for d in datasets],
        "own_templates": [dataclasses.asdict(t) for t in templates],
        "options": dataclasses.asdict(options),
        "left_out": dict(counts.left_out),
    }


def _reported(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows; a template that does not fit some row is reported as the user's fault, not as a crash."""
    try:
        yield from rows
    except TemplateRefused as error:
        raise Refused(400, template=str(error)) from error


def _sources(project: Project, datasets: Sequence[Dataset], templates: Sequence[OwnTemplate]) -> list[Source]:
    if not 1 <= len(datasets) <= _MOST_SOURCES:
        raise Refused(400, datasets=f"Choose 1 to {_MOST_SOURCES} labelled datasets.")
    own_templates = _own_instructions(templates, {_task_of(project, d) for d in datasets})
    return [
        Source(
            name=f"{d.name} {d.content_hash[:12]}",
            task=d.counts["task"],
            size=d.counts["rows"],
            rows=lambda path=d.path: frozen_rows.read(path, "rows"),  # type: ignore[misc]
            extra=tuple(t for t in own_templates if t.task == d.counts["task"]),
        )
        for d in sorted(datasets, key=lambda d: d.content_hash)  # in whatever order they were named
    ]


def _task_of(project: Project, dataset: Dataset) -> str:
    if dataset.project_id != project.pk or dataset.kind != Dataset.Kind.LABELLED:
        raise Refused(
            400, datasets=f"{dataset.name} is not a labelled dataset of {project.name}; choose a labelled one."
        )
    if dataset.counts.get("task") not in TASKS:
        raise Refused(400, datasets=f"{dataset.name} has no task; upload it again with a task.")
    local_copies.bring(dataset.path)
    if not dataset.path.is_dir():
        raise Refused(410, datasets=f"The files of {dataset.name} are missing on this machine; upload it again.")
    return dataset.counts["task"]


def _own_instructions(templates: Sequence[OwnTemplate], tasks: set[str]) -> list[Instruction]:
    instructions = []
    for number, template in enumerate(templates, start=1):
        if template.task not in tasks:
            raise Refused(400, template=f"No chosen dataset has the task {template.task!r}; choose one that has.")
        try:
            instructions.append(read_instruction(template.text, TASKS[template.task], f"{template.task}/own-{number}"))
        except TemplateRefused as error:
            raise Refused(400, template=str(error)) from error
    return instructions


def _checked(options: dict[str, Any]) -> Options:
    defaults = {f.name: f.default for f in dataclasses.fields(Options)}
    for name, value in options.items():
        if name not in defaults:
            raise Refused(400, **{name: f"is not an option; the options are {', '.join(defaults)}."})
        if name == "limit" and value is None:
            continue
        low, high = _BOUNDS[name]
        kind = float if isinstance(defaults[name], float) else int
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or (kind is int and not isinstance(value, int))
        ):
            raise Refused(400, **{name: f"must be a {'number' if kind is float else 'whole number'}."})
        if not low <= value <= high:
            raise Refused(400, **{name: f"must be between {low:g} and {high:g}."})
    return Options(**options)


def _varied(rows: list[Row]) -> list[Row]:
    """Return rows of different templates, of every task in turn."""
    by_task: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_task.setdefault(row["task"], {}).setdefault(row["template"], row)
    turns = itertools.zip_longest(*(rows_by_template.values() for rows_by_template in by_task.values()))
    return [row for turn in turns for row in turn if row is not None][:_SHOWN]
