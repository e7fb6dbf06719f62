"""The tasks on which models were measured, by which settings, and which run stands for each model."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from annotate.models import Project
from evaluation.measures.recording import task_of
from training.configs.evaluate import EvaluateConfig
from training.models import Run

FIRST, PARENT = "first", "parent"  # what each model is set against
# Options that change no figure, or whose difference the items' own hash tells.
_SILENT = {"measure", "batch_size", "contamination", "draws", "limit"}


@dataclass(frozen=True)
class Task:
    """Hold what at least one model was measured on, and how."""

    name: str
    measure: str
    models: int

    @property
    def key(self) -> str:
        return f"{self.measure}:{self.name}"


def measured(project: Project) -> list[Run]:
    """Return evaluations that ended well and left items, newest first."""
    done = project.runs.filter(kind="evaluate", state=Run.State.SUCCEEDED).exclude(parent=None)
    rows = done.select_related("parent", "other_dataset", "reward_model").order_by("-pk")
    return [run for run in rows if run.result.get("items_hash")]


def tasks(runs: Iterable[Run]) -> list[Task]:
    """Return what models were measured on, item by item; where most were measured first."""
    models: dict[tuple[str, str], set[int | None]] = defaultdict(set)
    for run in runs:
        models[task_of(run), run.config.get("measure", "")].add(run.parent_id)
    tasks = [Task(name, measure, len(ids)) for (name, measure), ids in models.items()]
    return sorted(tasks, key=lambda task: (-task.models, task.name.casefold(), task.measure))


def of_task(runs: Iterable[Run], task: Task, models: Iterable[int] | None = None) -> list[Run]:
    """Return the runs of that task, and of these models, in the order given."""
    wanted_models = None if models is None else set(models)
    return [
        run for run in runs if key_of(run) == task.key and (wanted_models is None or run.parent_id in wanted_models)
    ]


def key_of(run: Run) -> str:
    return Task(task_of(run), run.config.get("measure", ""), 0).key


def one_each(runs: Iterable[Run]) -> list[Run]:
    """Return for each model the newest run on the items and by the settings that most of the models share; ancestors
    before descendants.

    `runs` are of one task, newest first.
    """
    by_model: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_model[run.parent_id or 0].append(run)
    settings_of_run = {
        run.pk: (str(run.result["items_hash"]), *way_of(run)) for model_runs in by_model.values() for run in model_runs
    }
    shared = Counter(
        settings for model_runs in by_model.values() for settings in {settings_of_run[run.pk] for run in model_runs}
    )
    newest = {settings: max(pk for pk, other in settings_of_run.items() if other == settings) for settings in shared}
    best = max(shared, key=lambda settings: (shared[settings], newest[settings]), default=None)
    chosen = [
        next((r for r in model_runs if settings_of_run[r.pk] == best), model_runs[0])
        for model_runs in by_model.values()
    ]
    return sorted(chosen, key=lambda run: (_depth(run), run.parent_id))


def _depth(run: Run) -> int:
    depth, model, seen_ids = 0, run.parent, set()
    while model is not None and model.parent_id and model.pk not in seen_ids:
        seen_ids.add(model.pk)
        depth, model = depth + 1, model.parent
    return depth


def settings_that_differ(runs: Sequence[Run]) -> list[str]:
    """Return a sentence for each option, library or version that was not the same: then the difference is not of the
    models alone."""
    sentences = []
    options = [_options(run) for run in runs]
    for name in options[0] if options else ():
        values = [json.dumps(each.get(name), ensure_ascii=False) for each in options]
        if len(set(values)) > 1:
            text = ", ".join(f"{value} for {run.parent}" for value, run in zip(values, runs, strict=True))
            sentences.append(f"The runs had different options: {name} was {text}. This is part of the differences.")
    names_by_settings: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        names_by_settings[_made_by(run)].append(str(run.parent))
    if len(names_by_settings) > 1:
        text = "; ".join(f"{' and '.join(names)} by “{settings}”" for settings, names in names_by_settings.items())
        sentences.append(f"The settings differ: {text}. This can cause differences.")
    return sentences


def way_of(run: Run) -> tuple[str, str]:
    """Return how it was measured: the same for runs of which only the models differ."""
    return json.dumps(_options(run), sort_keys=True), _made_by(run)


def _options(run: Run) -> dict[str, Any]:
    """Return the options that mean something for its measure, and change a figure."""
    measure = run.config.get("measure")
    options = (o for o in fields(EvaluateConfig) if not o.metadata["only"] or measure in o.metadata["only"])
    return {option.name: run.config.get(option.name) for option in options if option.name not in _SILENT}


def _made_by(run: Run) -> str:
    """Return libraries, versions and settings, without the hashes of items and model that come first."""
    return str(run.result.get("signature", "")).partition("; ")[2]
