"""What was chosen for an import, as it is kept in its row: {format: …, columns: {…}, judge: …, link: …, dry_run: …}."""

from __future__ import annotations

from annotate.data.imports.feedback_rows import Into
from annotate.data.imports.reading import HowToRead
from annotate.models import Import, LanguageModel
from annotate.models.feedback import annotator_kind_of


def is_dry_run(of: Import) -> bool:
    return bool(of.options.get("dry_run"))


def how_to_read(of: Import) -> HowToRead:
    return HowToRead(of.format, of.options.get("container", "auto"), of.options.get("columns", {}))


def rows_go_into(of: Import) -> Into:
    """`link` was allowed by a manager: answers then belong to the models of that name which compete in the project."""
    linked = {}
    if of.options.get("link"):
        models = LanguageModel.objects.filter(contests__project=of.project)
        linked = dict(models.values_list("name", "id"))
    return Into(
        project=of.project_id,
        source=of.source,
        author=of.created_by_id,
        judge=of.options.get("judge") or annotator_kind_of(of.created_by),
        linked=linked,
    )
