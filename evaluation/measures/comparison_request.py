"""Read which models an address wants compared: for the page, its downloads and the API."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.http import QueryDict

from annotate.models import Project
from common.whole_numbers import row_id
from evaluation.measures import measured_tasks
from evaluation.measures.measured_tasks import FIRST, PARENT, Task
from training.models import Run

MOST_MODELS = 12
MOST_UNASKED = 4  # that are shown before anybody chose


@dataclass
class ComparisonQuery:
    """Hold what an address asks for. `runs` overrule task and models: other pages link with them."""

    tasks: list[Task]
    task: Task | None = None
    candidates: list[Run] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    to: str = FIRST
    metric: str = ""  # by which parts of the task are told


def read(query: QueryDict, project: Project) -> ComparisonQuery:
    every = measured_tasks.measured(project)
    comparison_query = ComparisonQuery(
        measured_tasks.tasks(every), to=PARENT if query.get("to") == PARENT else FIRST, metric=query.get("metric", "")
    )
    by_pk = {run.pk: run for run in every}
    named = [by_pk[pk] for pk in dict.fromkeys(row_ids(query.getlist("runs"))) if pk in by_pk]
    if named:
        comparison_query.task = next(t for t in comparison_query.tasks if t.key == measured_tasks.key_of(named[0]))
    elif comparison_query.tasks:
        task_name = query.get("task", "")
        comparison_query.task = next(
            (t for t in comparison_query.tasks if task_name in (t.key, t.name)),
            None if task_name else comparison_query.tasks[0],
        )
    if comparison_query.task is None:
        return comparison_query
    comparison_query.candidates = measured_tasks.one_each(measured_tasks.of_task(every, comparison_query.task))
    if named:
        comparison_query.runs = measured_tasks.of_task(named, comparison_query.task)[:MOST_MODELS]
    elif models := row_ids(query.getlist("models")):
        chosen = measured_tasks.one_each(measured_tasks.of_task(every, comparison_query.task, models))
        first = row_ids([query.get("first", "")])
        comparison_query.runs = sorted(chosen, key=lambda run: run.parent_id not in first)[:MOST_MODELS]
    elif not query.get("models") and not query.get("runs") and len(comparison_query.candidates) <= MOST_UNASKED:
        comparison_query.runs = comparison_query.candidates
    return comparison_query


def row_ids(texts: list[str]) -> list[int]:
    parts = [part.strip() for text in texts for part in text.split(",")]
    return [pk for part in parts if (pk := row_id(part))]
