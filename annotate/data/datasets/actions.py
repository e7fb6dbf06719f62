"""Freeze feedback into a dataset that nothing changes afterwards.

The folder's name is the hash of the rows, so the same feedback gives the same dataset whoever freezes it, and whenever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from django.db import IntegrityError, connection, transaction

from annotate.core import audit, typed_texts
from annotate.core.db.key_checks import KeyChecks
from annotate.core.errors import Refused
from annotate.core.events import announce_dataset
from annotate.core.permissions import require
from annotate.data import frozen_rows
from annotate.data.datasets.answer_texts import Tell, silent
from annotate.data.datasets.selected_rows import Selection
from annotate.data.datasets.selections import select
from annotate.models import AnnotatorKind, Dataset, Project, User
from common import splits


def freeze(
    *,
    project: Project,
    kind: str,
    name: str,
    by: User | None,
    side: str = splits.TRAIN,
    judge: str = AnnotatorKind.PERSON,
    tell: Tell = silent,
    and_then: Callable[[Dataset], None] = lambda dataset: None,
    was_allowed: bool = False,
    **options: Any,
) -> Dataset:
    """Return a new dataset. Refused when it would mix splits or kinds of annotators, or be empty; then nothing is
    written.

    `tell` is called with what is being done and the share that is done. `and_then` is called in the transaction that
    makes the dataset: there is none when it raises. `was_allowed` says that `by` had the right to order it when they
    did: it is carried out though they have left since.
    """
    name = checked_name(project, name, None if was_allowed else by)
    selection = select(project=project, kind=kind, side=side, judge=judge, tell=tell, **options)
    if not any(selection.sources.values()):
        raise Refused(400, feedback=selection.counts["empty"])
    tell("writing files", 0.5)
    content_hash = frozen_rows.write(
        selection.files, kind=kind, side=side, before_storing=lambda: tell("storing files", 0.9)
    )
    tell("noting what it was made of", 0.95)
    try:
        with transaction.atomic():
            dataset = _record(project, kind, name, by, side, judge, content_hash, selection)
            and_then(dataset)
    except IntegrityError as error:  # a double click: its twin came first
        raise name_taken(project, name) from error
    return dataset


def checked_name(project: Project, name: str, by: User | None) -> str:
    """Return the name for a new dataset of a project. Refused where it is taken, or they may freeze none."""
    if by is not None:
        require(by, "research", project)
    name = typed_texts.checked_name(name)
    if Dataset.objects.filter(project=project, name=name).exists():
        raise name_taken(project, name)
    return name


def check_name_of_rows(project: Project, kind: str, name: str, content_hash: str) -> None:
    """Refuse a name that is taken, for rows of which the project has no dataset of this kind yet."""
    datasets = Dataset.objects.filter(project=project)
    if not datasets.filter(kind=kind, content_hash=content_hash).exists() and datasets.filter(name=name).exists():
        raise name_taken(project, name)


def name_taken(project: Project, name: str) -> Refused:
    return Refused(409, name=f"{project.name} already has a dataset {name!r}; choose another name.")


def _record(
    project: Project,
    kind: str,
    name: str,
    by: User | None,
    side: str,
    judge: str,
    content_hash: str,
    selection: Selection,
) -> Dataset:
    counts = {name: value for name, value in selection.counts.items() if name != "empty"}
    counts["left_out"] = {reason: n for reason, n in counts["left_out"].items() if n}
    dataset = Dataset.objects.create(
        project=project,
        kind=kind,
        name=name,
        side=side,
        judge="" if kind == Dataset.Kind.PROMPTS else judge,
        content_hash=content_hash,
        counts=counts,
        created_by=by,
    )
    for plural, ids in selection.sources.items():
        if ids:
            _link(dataset, plural, ids)
    # From now on no prompt of it can be edited. An eval prompt must not train.
    if dataset.prompts.exclude(side=side).exists():
        raise Refused(409, feedback="Some of its prompts were edited into the other split meanwhile; freeze it again.")
    audit.record(action="dataset.frozen", about=f"{name} ({kind}, {side})", by=by, project=project)
    announce_dataset(dataset)
    return dataset


def _link(dataset: Dataset, plural: str, ids: Iterable[int]) -> None:
    """Note what the dataset was made of, in one statement: of 100,000 rows Django would make as many objects, while
    nobody else writes on SQLite."""
    relation: Any = getattr(Dataset, plural)
    dataset_column, feedback_column = relation.field.m2m_column_name(), relation.field.m2m_reverse_name()
    values = "json_array_elements_text(%s)" if connection.vendor == "postgresql" else "json_each(%s)"
    keys, through = sorted(set(ids)), relation.through
    checked = KeyChecks().checked(through, [feedback_column], [(pk,) for pk in keys], {dataset_column: dataset.pk})
    with checked, connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {through._meta.db_table} ({dataset_column}, {feedback_column}) "
            f"SELECT %s, CAST(value AS bigint) FROM {values}",
            [dataset.pk, json.dumps(keys)],
        )
