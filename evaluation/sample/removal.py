"""Remove the sample project with all its rows and files, those that were added since it was loaded included."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import CASCADE, Model, Q

from annotate.models import Dataset, LanguageModel, Project, User
from evaluation.sample.project_rows import foreign_keys, rows_of, tables
from evaluation.sample.sample_project import PREFIX
from evaluation.sample.sample_runs import remove_runs
from training.models import Run
from training.storage import stored_artefacts


class StillUsed(Exception):
    """Another project uses what belongs to the sample project: what, and what to do."""


def remove(project: Project) -> int:
    """Delete the project's rows, its runs' models, its simulated people and its files; return how many rows.

    Models that were registered in it stay, of no project. Raises StillUsed, with nothing deleted, where a row of
    another project points at one of them.
    """
    rows = rows_of(project)
    runs = list(rows[Run].values_list("pk", flat=True))
    folders = set(rows[Dataset].values_list("content_hash", flat=True))
    models = list(LanguageModel.objects.made_in(project).values_list("pk", flat=True))
    people = User.objects.filter(memberships__project=project, is_simulated=True, username__startswith=PREFIX)
    users = list(people.values_list("pk", flat=True)) + ([project.created_by_id] if project.created_by_id else [])
    keys = [(table, list(queryset.values_list("pk", flat=True))) for table, queryset in rows.items()]
    keys = [(User, users), (LanguageModel, models), *_attached(models, users, set(rows)), *keys]
    try:
        with transaction.atomic():
            count = 0
            LanguageModel.objects.filter(project=project).update(project=None)  # registered in it: no row of its own
            for table, pks in reversed(keys):
                for at in range(0, len(pks), 500):
                    part = table._base_manager.filter(pk__in=pks[at : at + 500])
                    count += part._raw_delete(part.db)  # no cascade: the order is ours
            connection.check_constraints()
    except IntegrityError as error:
        raise StillUsed(
            "Another project uses a model or a row of the sample project, such as a run that starts from one of its "
            f"models; nothing was removed. {error}"
        ) from error
    remove_runs(runs)
    kept = set(Dataset.objects.values_list("content_hash", flat=True))
    gone = [Path(settings.DATASETS_DIR) / folder for folder in folders - kept]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    for path in [*gone, *(Run(pk=run).path for run in runs)]:
        stored_artefacts.forget(path)
    return count


def _attached(models: list[int], users: list[int], tables_done: set[type[Model]]) -> list[tuple[type[Any], list[int]]]:
    """Return rows that go with a model or a person, such as how a server holds it: of tables without a project."""
    attached: list[tuple[type[Any], list[int]]] = []
    for table in set(tables()) - tables_done - {User, LanguageModel}:
        belongs = Q()
        for key in foreign_keys(table):
            if key.remote_field.on_delete is CASCADE and key.related_model in (User, LanguageModel):
                belongs |= Q(**{f"{key.name}__in": models if key.related_model is LanguageModel else users})
        if belongs:
            attached.append((table, list(table._base_manager.filter(belongs).values_list("pk", flat=True))))
    return attached
