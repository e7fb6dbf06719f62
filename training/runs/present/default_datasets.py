"""Choose the dataset that the form of a new run begins with: the newest frozen one that such a run can learn from."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from annotate.core.artefacts import local_copies
from annotate.data.feedback_lineage import KINDS, TEACHING
from annotate.data.rows.task_families import TASKS
from annotate.models import Dataset, Project, Prompt
from common import splits
from training.configs.preference import FEWEST_OF_EACH, FEWEST_PAIRS
from training.core.kinds import Kind

_MOST_LOOKED_AT = 50


def newest_dataset(kind: Kind, datasets: QuerySet[Dataset]) -> Dataset | None:
    """Return the newest suitable one, of the train split where there is one; else the newest, whose refusal says why.

    Prompts to sample may be of either split: those that train come first.
    """
    rows = list(datasets.order_by("-pk")[:_MOST_LOOKED_AT])
    rows.sort(key=lambda dataset: dataset.side != splits.TRAIN)  # stable: newest first within a split
    suitable = (dataset for dataset in rows if _suits(kind.name, dataset) and local_copies.is_available(dataset.path))
    return next(suitable, rows[0] if rows else None)


def is_outdated(kind: Kind, project: Project, datasets: QuerySet[Dataset]) -> bool:
    """Return whether something came after the newest dataset of the train split that a new one would hold."""
    newest = datasets.filter(side=splits.TRAIN).order_by("-pk").first()
    if newest is None:
        return False
    if kind.dataset_kind == Dataset.Kind.PROMPTS:
        prompts = Prompt.objects.filter(project=project, side=splits.TRAIN)
        return prompts.filter(created_at__gt=newest.created_at).exists()
    if kind.dataset_kind not in (Dataset.Kind.PREFERENCES, Dataset.Kind.SFT):
        return False
    feedback = (KINDS[name].objects.filter(project=project) for name in TEACHING)
    return any(
        rows.counted().on_split(splits.TRAIN).filter(created_at__gt=newest.created_at).exists() for rows in feedback
    )


def _suits(kind: str, dataset: Dataset) -> bool:
    counts = dataset.counts
    match kind:
        case "reward":
            return counts.get("enough") is not False
        case "dpo":
            return "winners" not in counts or _pairs(counts) >= FEWEST_PAIRS
        case "kto":
            return counts.get("ratings", 2 * FEWEST_OF_EACH) >= 2 * FEWEST_OF_EACH
        case "classify":
            task, labels = TASKS.get(counts.get("task", "")), counts.get("labels")
            is_one_label = isinstance(labels, dict) and len(labels) == 1
            return (task is None or task.is_classification) and not is_one_label
    return True


def _pairs(counts: dict[str, Any]) -> int:
    """Return at least how many pairs have a winner; a ranking and an edit are one each."""
    decided = sum(counts["winners"].get(winner, 0) for winner in ("model_a", "model_b"))
    return decided + counts.get("rankings", 0) + counts.get("edits", 0)
