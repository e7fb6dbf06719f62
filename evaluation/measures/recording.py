"""Write the figures of a run that has ended as rows of Evaluation."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from annotate.models import LanguageModel
from evaluation.measures import item_store as items
from evaluation.measures.eval_rows import evaluated
from evaluation.models import Evaluation
from training.core.run_directory import RunDirectory
from training.models import Run

_SIGNATURE = 500  # characters that an Evaluation keeps


def record(run: Run, directory: RunDirectory) -> None:
    """Record the figures of a run that measures the model it started from."""
    write_metrics(run, evaluated(run))


def record_measure(run: Run, directory: RunDirectory) -> None:
    """Record one Evaluation for each metric, of the whole and of each group; none a second time for the same run."""
    if Evaluation.objects.filter(run=run).exists():
        return
    # So that nobody waits for it on a page; after the transaction, for it reads a file.
    transaction.on_commit(lambda: items.index_of(run.path), robust=True)
    result, model = run.result, evaluated(run)
    parts = [("", result.get("metrics", {})), *result.get("groups", {}).items()]
    common: dict[str, Any] = {
        "project": run.project,
        "model": model,
        "run": run,
        "task": task_of(run),
        "items_hash": str(result.get("items_hash", ""))[:64],
        "opponent": _opponent_of(run, model),
        "signature": signature_of(run),
    }
    Evaluation.objects.bulk_create(
        Evaluation(
            **common,
            **_numbers(name, figure),
            group=group[:120],
            higher_is_better=figure.get("higher_is_better"),
            clean=figure.get("clean") or {},
        )
        for group, figures in parts
        for name, figure in figures.items()
        if isinstance(figure, dict) and figure.get("value") is not None
    )


def _opponent_of(run: Run, model: LanguageModel) -> LanguageModel | None:
    """Return the model that the figures set this one against, None where they are of this one alone."""
    measure = run.config.get("measure")
    if measure == "fluency":
        return model.parent
    name = run.config.get("opponent", "").strip()
    return (
        LanguageModel.objects.usable_in(run.project).filter(name=name).first()
        if measure == "win_rate" and name
        else None
    )


def _numbers(name: str, figure: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that every figure has, whatever measured it."""
    fields = {field: figure.get(field) for field in ("value", "standard_error", "lower", "upper")}
    return {"metric": name[:60], "n": figure.get("n") or 0, **fields}


def task_of(run: Run) -> str:
    """Return what it was measured on, as people call it: the dataset, else what the recipe says."""
    return (run.other_dataset.name if run.other_dataset else str(run.result.get("task", "")))[:200]


def write_metrics(run: Run, model: LanguageModel) -> list[Evaluation]:
    """Write one Evaluation for each figure of the result; none a second time for the same run and model."""
    signature = signature_of(run)
    rows = [
        Evaluation(
            project=run.project,
            model=model,
            run=run,
            signature=signature,
            **_numbers(name, figure),
        )
        for name, figure in _figures(run.result)
    ]
    if not rows:
        return []
    with transaction.atomic():
        Run.objects.select_for_update().filter(pk=run.pk).values_list(
            "pk"
        ).first()  # a signal and the background worker at once
        if Evaluation.objects.filter(run=run, model=model).exists():
            return []
        return Evaluation.objects.bulk_create(rows)


def signature_of(run: Run) -> str:
    """Return all that it takes to get the figure again."""
    dataset = ""
    if (frozen := run.dataset or run.other_dataset if run.kind == "evaluate" else run.dataset) is not None:
        by = f" by {frozen.judge}" if frozen.judge else ""
        dataset = f"dataset {frozen.content_hash[:12]}{by}"
    made_by = f"run {run.pk}, seed {run.seed}, code {run.code_version or 'unknown'}"
    provenance = "; ".join(part for part in (dataset, made_by) if part)
    # What leads back to the run is kept whole, whatever a recipe has to say.
    own_signature = str(run.result.get("signature", ""))[: _SIGNATURE - len(provenance) - 2]
    return f"{own_signature}; {provenance}" if own_signature else provenance


# Where recipes put their figures, and what these are called here. `longer` is the null of a reward model: how well
# it would do by always taking the longer answer.
_PLACES = {"metrics": "{}", "held_out": "held-out {}", "longer": "held-out {} of the longer answer"}


def _figures(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries that hold a number; a recipe writes None for what its data did not allow."""
    return [
        (named.format(name.replace("_", " ")), entry)
        for place, named in _PLACES.items()
        if isinstance(result.get(place), dict)
        for name, entry in result[place].items()
        if isinstance(entry, dict) and entry.get("value") is not None
    ]
