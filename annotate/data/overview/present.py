"""Count a project's prompts, answers, annotations and datasets."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from django.db.models import Count

from annotate.core.db.kept_totals import kept_totals
from annotate.data import feedback_lineage
from annotate.models import AnnotatorKind, Completion, Dataset, Project, Split, Status
from annotate.projects.overview.loop_stations import prompt_counts

_DATASET_TITLES = {
    Dataset.Kind.PREFERENCES: "preferences",
    Dataset.Kind.SFT: "examples",
    Dataset.Kind.PROMPTS: "prompts",
    Dataset.Kind.CORPUS: "raw texts",
    Dataset.Kind.LABELLED: "labelled texts",
    Dataset.Kind.TASK: "tasks",
}


def annotation_totals(project: Project) -> list[dict[str, Any]]:
    """Return for each kind of feedback how much counts, by annotator and split, and how much does not; what is large as
    it was up to five minutes ago."""
    totals = []
    for kind, table in feedback_lineage.KINDS.items():
        rows = feedback_lineage.one_per_item(kind, table.objects.filter(project=project)).order_by()
        groups = rows.values_list("judge", "prompt__side", "status").annotate(n=Count("id"))
        totals_of_groups: list[tuple[str, str, str, int]] = kept_totals(
            f"{kind} of {project.pk}", rows, partial(list, groups)
        )
        cells: Counter[tuple[str, str]] = Counter()
        uncounted = 0
        for judge, side, status, n in totals_of_groups:
            if status == Status.COUNTED:
                cells[judge, side] += n
            else:
                uncounted += n
        columns = [(judge, side, cells[judge, side]) for judge in AnnotatorKind.values for side in Split.values]
        totals.append(
            {"kind": kind, "title": feedback_lineage.TITLES[kind], "columns": columns, "uncounted": uncounted}
        )
    return totals


def prompt_totals(project: Project) -> dict[str, int]:
    """Return the number of prompts in each split, and how many are retired beside them."""
    retired = project.prompts.exclude(out_since=None).count()
    return prompt_counts(project) | {"retired": retired}


def answer_count(project: Project) -> int:
    answers = Completion.objects.filter(prompt__project=project)
    return kept_totals(f"answers of {project.pk}", answers, answers.count)


def dataset_totals(project: Project) -> list[tuple[str, int]]:
    """Return (what it holds, how many datasets) of each kind that the project has."""
    counts = dict(project.datasets.order_by().values_list("kind").annotate(n=Count("id")))
    return [(title, counts[kind]) for kind, title in _DATASET_TITLES.items() if kind in counts]


def has_trainable(totals: list[dict[str, Any]]) -> bool:
    """Return whether any annotation counts that may train, by these totals."""
    return any(n for kind in totals for _, side, n in kind["columns"] if side == Split.TRAIN)
