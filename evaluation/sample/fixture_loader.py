"""Load the sample project from its fixture: rows in one transaction, files beside them, ids as this database gives
them.

Dates stay as they were: what is shown is a real turn of that day. Columns that came after the fixture get their
defaults; a column or table that is gone makes loading fail with a sentence. Nothing of another project is changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import connection, transaction
from django.db.models import Field, ForeignKey

from annotate.data.imports import bulk_insert
from annotate.models import LanguageModel, Membership, Project, Prompt, Role, Split, User
from annotate.models.queue import QueueChange
from evaluation.sample import fixture_files
from evaluation.sample.fixture_files import FIXTURE, MARK, REMEDY, Row, StaleFixture, in_texts, unmarked
from evaluation.sample.project_rows import tables
from evaluation.sample.row_references import Ids, translate
from evaluation.sample.sample_project import NAME, SLUG, date_in_words, is_sample
from evaluation.sample.sample_runs import complete_adapters, describe_models, remove_runs, write_runs

USER, MODEL = "annotate.user", "annotate.languagemodel"


class NameTaken(Exception):
    """Something of this database has a name that the sample project needs: which, and what to do."""


@dataclass(frozen=True)
class Base:
    """The base model: its row of the fixture, its folder below ASSAY_DATA here, and its id where it is registered."""

    row: Row
    folder: str
    standing: int | None


def load(folder: Path = FIXTURE, *, member: User | None = None) -> tuple[Project, bool]:
    """Return the sample project, and whether it was loaded now: one that is there is left as it is. `member` becomes a
    manager of it.

    Raises StaleFixture where the fixture does not fit the schema, and NameTaken where its names are in use.
    """
    project, is_new = _found_or_loaded(folder)
    complete_adapters(project)
    if member is not None:
        Membership.objects.get_or_create(project=project, user=member, defaults={"role": Role.MANAGER})
    return project, is_new


def _found_or_loaded(folder: Path) -> tuple[Project, bool]:
    found = fixture_files.manifest(folder)
    with transaction.atomic():
        if standing := Project.objects.filter(slug=SLUG).first():
            if not is_sample(standing):
                raise NameTaken(f"There is another project at /p/{SLUG}/: rename it, then load the sample project.")
            return standing, False
        rows = _read(found, folder)
        base = _base(rows[MODEL], found)
        _require_free_names(rows, base)
        ids = _new_ids(rows, base)
        for label in rows:
            _insert(label, rows[label], ids, base)
        project = Project.objects.get(slug=SLUG)
        project.name = NAME.format(date_in_words(found["day"]))
        project.save(update_fields=["name"])
        trained = Prompt.objects.filter(project=project, side=Split.TRAIN)
        QueueChange.note(project.pk, trained.values_list("pk", flat=True))
        try:
            write_runs(folder, ids, lambda text: _here(text, base, ids), base.folder)
            describe_models(found, ids)
        except BaseException:
            remove_runs(ids["training.run"].values())
            raise
    return project, True


def _read(found: Row, folder: Path) -> dict[str, list[Row]]:
    """Return the rows by table, each table after those that it points at."""
    labels = dict.fromkeys(table._meta.label_lower for table in tables())
    if gone := sorted(set(found["tables"]) - set(labels)):
        raise StaleFixture(f"The sample project has rows of {', '.join(gone)}, and there is no such table. {REMEDY}")
    return {label: fixture_files.read_rows(label, folder) for label in labels if label in found["tables"]}


def _base(models: list[Row], found: Row) -> Base:
    (row,) = (model for model in models if model["id"] == found["base"])
    same = LanguageModel.objects.filter(content_hash=row["content_hash"], kind=row["kind"]).exclude(folder="")
    if standing := same.order_by("pk").first():
        return Base(row, standing.folder, standing.pk)
    return Base(row, f"models/{row['name'].lower()}", None)


def _require_free_names(rows: dict[str, list[Row]], base: Base) -> None:
    names = {row["name"] for row in rows[MODEL] if row is not base.row or base.standing is None}
    taken = [
        f"the model {name}" for name in LanguageModel.objects.filter(name__in=names).values_list("name", flat=True)
    ]
    users = User.objects.filter(username__in=[row["username"] for row in rows[USER]])
    taken += [f"the user {name}" for name in users.values_list("username", flat=True)]
    if taken:
        raise NameTaken(f"The sample project needs names that are taken by {', '.join(taken)}: rename what has them.")


def _new_ids(rows: dict[str, list[Row]], base: Base) -> Ids:
    """Draw an id for each row, in their order; the base model keeps the one that it has here."""
    ids: Ids = {table._meta.label_lower: {} for table in tables()}
    for label, table_rows in rows.items():
        table = apps.get_model(label)
        if not isinstance(table._meta.pk, ForeignKey):
            new = bulk_insert.new_ids(table, len(table_rows))
            ids[label] = dict(zip((row["id"] for row in table_rows), new, strict=True))
    if base.standing is not None:
        ids[MODEL][base.row["id"]] = base.standing
    return ids


def _insert(label: str, rows: list[Row], ids: Ids, base: Base) -> None:
    table = apps.get_model(label)
    fields = {field.attname: field for field in table._meta.concrete_fields}
    given: set[str] = set().union(*rows)
    if gone := sorted(given - set(fields)):
        raise StaleFixture(f"{label} has no column {', '.join(gone)} any more; the sample project has it. {REMEDY}")
    fixed = {"password": make_password(None)} if table is User else {}
    _require_defaults(label, [field for name, field in fields.items() if name not in given and name not in fixed])
    columns = [name for name in fields if name in given]
    values = []
    for row in rows:
        if row is base.row and base.standing is not None:
            continue
        row = in_texts(row, lambda text: _here(text, base, ids))
        translate(label, row, ids)
        values.append(tuple(_value(fields[name], row[name], ids) for name in columns))
    bulk_insert.insert(table, [str(fields[name].column) for name in columns], values, **fixed)


def _here(text: str, base: Base, ids: Ids) -> str:
    if MARK not in text:  # all but a few of 200,000
        return text
    return unmarked(text, data=str(settings.DATA_DIR), base=base.folder, runs=ids["training.run"])


def _require_defaults(label: str, fields: list[Field[Any, Any]]) -> None:
    """Raise StaleFixture where a column came that must be filled and has no default."""
    for field in fields:
        if not (field.has_default() or field.null or field.blank or getattr(field, "auto_now_add", False)):
            raise StaleFixture(f"{label} has a new column {field.name} without a default. {REMEDY}")


def _value(field: Field[Any, Any], value: Any, ids: Ids) -> Any:
    """Return a value as the column stores it here."""
    if value is not None and field.primary_key and not isinstance(field, ForeignKey):
        value = ids[field.model._meta.label_lower][value]
    elif value is not None and isinstance(field, ForeignKey):
        target = field.related_model._meta.label_lower
        if value not in ids[target] and not field.null:
            raise StaleFixture(f"{field.model._meta.label} points at {target} {value}, which is not there. {REMEDY}")
        value = ids[target].get(value)
        field = field.target_field
    return field.get_db_prep_save(field.to_python(value), connection)
