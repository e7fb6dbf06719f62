"""Add what was looked at: by the import engine, or as a frozen dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from annotate.core.errors import Refused
from annotate.data.add_data.column_targets import ROWS
from annotate.data.add_data.drafts import Draft
from annotate.data.add_data.previews import Plan, dataset_columns, preview
from annotate.data.imports.actions import Order, start_import_of
from annotate.data.uploads.actions import upload
from annotate.data.uploads.uploaded_rows import Uploaded
from annotate.models import Import, Project, User


@dataclass(frozen=True)
class Wish:
    """Say how a file is added, beside its plan: `source`, `judge` and `link` for the import engine (see `Order`),
    `name` and `skip_bad` for a dataset. `dry_run` has the whole file checked first."""

    source: str = ""
    judge: str = ""
    link: bool = False
    dry_run: bool = False
    name: str = ""
    skip_bad: bool = False


def add(draft: Draft, plan: Plan, wish: Wish, *, project: Project, by: User) -> Import | Uploaded:
    """Add the file. Refused with what is wrong, by field; then nothing is written and the draft stays."""
    seen = preview(draft, plan, project)
    if plan.shape != ROWS:
        return _freeze(draft, plan, wish, seen.mapping, project, by)
    if seen.problem:
        raise Refused(400, columns=seen.problem)
    columns = seen.how.columns
    order = Order(
        source=wish.source or draft.file.name[:60],
        format="auto" if columns else seen.how.format,
        container=plan.container,
        columns=columns,
        judge=wish.judge,
        link=wish.link,
        dry_run=wish.dry_run,
    )
    return start_import_of(draft.file, project=project, order=order, by=by)


def _freeze(draft: Draft, plan: Plan, wish: Wish, mapping: Mapping[str, str], project: Project, by: User) -> Uploaded:
    with draft.path.open("rb") as file:
        return upload(
            project=project,
            kind=plan.shape,
            name=wish.name,
            file=file,
            file_name=draft.file.name,
            by=by,
            task=plan.task if plan.shape == "labelled" else "",
            format=plan.container,
            columns=dataset_columns(mapping),
            labels=dict(plan.labels),
            skip_bad=wish.skip_bad,
        )
