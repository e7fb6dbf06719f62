"""Read what was chosen for an import from its row: {format: …, columns: {…}, judge: …, link: …, dry_run: …}.

Beside it stands what its columns were read as when it was sent."""

from __future__ import annotations

from annotate.data.imports.feedback_rows import Into
from annotate.data.imports.reading import HowToRead
from annotate.models import Import, LanguageModel
from annotate.models.feedback import annotator_kind_of

COLUMNS_READ = "columns_read"


def columns_read(import_: Import) -> dict[str, str]:
    """Return {column: what it is read as}, by the file's first rows."""
    return {name: use for name, use in import_.options.get(COLUMNS_READ, {}).items() if use}


def unused_columns(import_: Import) -> list[str]:
    """Return the columns that nothing reads, by the file's first rows."""
    return [name for name, use in import_.options.get(COLUMNS_READ, {}).items() if not use]


def is_dry_run(import_: Import) -> bool:
    return bool(import_.options.get("dry_run"))


def how_to_read(import_: Import) -> HowToRead:
    return HowToRead(import_.format, import_.options.get("container", "auto"), import_.options.get("columns", {}))


def rows_go_into(import_: Import) -> Into:
    """Return where rows go. With `link`, allowed by a manager, answers belong to the models of that name which compete
    in the project."""
    linked = {}
    if import_.options.get("link"):
        models = LanguageModel.objects.filter(contests__project=import_.project)
        linked = dict(models.values_list("name", "id"))
    return Into(
        project=import_.project_id,
        source=import_.source,
        author=import_.created_by_id,
        judge=import_.options.get("judge") or annotator_kind_of(import_.created_by),
        linked=linked,
    )
