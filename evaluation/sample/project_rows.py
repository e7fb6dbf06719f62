"""List the rows that belong to one project, table by table, each table after those that it points at.

The tables are read from the schema, so that a new table of a project is exported, loaded and removed without a line
here. A row belongs to the project that its `project` names; a table without that column belongs through the rows that
it points at, such as a run's metrics. Users and language models are shared between projects, and never followed.
"""

from __future__ import annotations

from functools import cache
from graphlib import TopologicalSorter
from typing import Any

from django.apps import apps
from django.db.models import ForeignKey, Model, Q, QuerySet

from annotate.data.feedback_lineage import KINDS
from annotate.models import LanguageModel, Project, StatusChange, User

APPS = ("annotate", "training", "evaluation")
SHARED: tuple[type[Model], ...] = (User, LanguageModel)
Rows = dict[type[Model], QuerySet[Any]]


def rows_of(project: Project) -> Rows:
    """Return the project's rows of every table that may have some, the tables that others point at first."""
    rows: Rows = {Project: Project.objects.filter(pk=project.pk)}
    for table in tables():
        if table in SHARED or table is Project:
            continue
        if table is StatusChange:
            rows[table] = _status_changes(rows)
        elif any(key.name == "project" for key in foreign_keys(table)):
            rows[table] = table._base_manager.filter(project=project)
        elif links := [key for key in foreign_keys(table) if key.related_model in rows]:
            belongs = Q()
            for key in links:
                belongs |= Q(**{f"{key.name}__in": rows[key.related_model].values("pk")})
            rows[table] = table._base_manager.filter(belongs)
    return {table: queryset.order_by("pk") for table, queryset in rows.items()}


@cache
def tables() -> tuple[type[Model], ...]:
    """Return all tables of the apps, those between two tables included, each after what it points at."""
    found = [model for app in APPS for model in apps.get_app_config(app).get_models(include_auto_created=True)]
    order = TopologicalSorter({table: {key.related_model for key in foreign_keys(table)} - {table} for table in found})
    order.add(StatusChange, *KINDS.values())
    return tuple(table for table in order.static_order() if table in set(found))


@cache
def foreign_keys(table: type[Model]) -> tuple[ForeignKey[Any, Any], ...]:
    return tuple(field for field in table._meta.concrete_fields if isinstance(field, ForeignKey))


def _status_changes(rows: Rows) -> QuerySet[Any]:
    """Return the changes of statuses, which name a table and an id and have no foreign key."""
    belongs = Q()
    for kind, table in KINDS.items():
        belongs |= Q(kind=kind, feedback_id__in=rows[table].values("pk"))
    return StatusChange.objects.filter(belongs)
