"""Read which models an address asks to set beside each other: for the page, its downloads and the API."""

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
class Asked:
    """What the address says. `runs` overrule task and models: other pages link with them."""

    tasks: list[Task]
    task: Task | None = None
    candidates: list[Run] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    to: str = FIRST
    metric: str = ""  # by which parts of the task are told


def read(sent: QueryDict, project: Project) -> Asked:
    every = measured_tasks.measured(project)
    asked = Asked(
        measured_tasks.tasks(every), to=PARENT if sent.get("to") == PARENT else FIRST, metric=sent.get("metric", "")
    )
    by_pk = {run.pk: run for run in every}
    named = [by_pk[pk] for pk in dict.fromkeys(row_ids(sent.getlist("runs"))) if pk in by_pk]
    if named:
        asked.task = next(t for t in asked.tasks if t.key == measured_tasks.key_of(named[0]))
    elif asked.tasks:
        wanted = sent.get("task", "")
        asked.task = next((t for t in asked.tasks if wanted in (t.key, t.name)), None if wanted else asked.tasks[0])
    if asked.task is None:
        return asked
    asked.candidates = measured_tasks.one_each(measured_tasks.of_task(every, asked.task))
    if named:
        asked.runs = measured_tasks.of_task(named, asked.task)[:MOST_MODELS]
    elif models := row_ids(sent.getlist("models")):
        chosen = measured_tasks.one_each(measured_tasks.of_task(every, asked.task, models))
        first = row_ids([sent.get("first", "")])
        asked.runs = sorted(chosen, key=lambda run: run.parent_id not in first)[:MOST_MODELS]
    elif not sent.get("models") and not sent.get("runs") and len(asked.candidates) <= MOST_UNASKED:
        asked.runs = asked.candidates
    return asked


def row_ids(given: list[str]) -> list[int]:
    parts = [part.strip() for text in given for part in text.split(",")]
    return [pk for part in parts if (pk := row_id(part))]
