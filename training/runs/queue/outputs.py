"""Record what a run that ended well leaves in the database: completions, a model, or a dataset.

`gather` reads and hashes, which may take seconds; `record` writes, inside the transaction that turns the run to
succeeded: its outputs are recorded with it, once, or not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.core.events import announce_dataset
from annotate.data.prompts.actions import NewCompletion, add_completions
from annotate.language_models.actions import enter_arena, register_model
from annotate.models import Dataset, LanguageModel, Prompt
from common import reasoning, splits
from common.texts import first_free
from training.configs.rewards.part_lines import judges_in
from training.core import kept_steps
from training.core.folder_hash import folder_hash
from training.core.kinds import KINDS
from training.core.run_directory import Row, RunDirectory, read_lines
from training.models import KeptCheckpoint, Run
from training.runs.queue.ingest import storable

_CHUNK = 500  # SQLite bounds the variables of one statement
_COST_BELOW = 999_999  # dollars; Completion.cost holds hardly more


class BadOutput(Exception):
    """Raised when the recipe said that it ended well, and what it left cannot be used."""


@dataclass(frozen=True)
class Outputs:
    directory: RunDirectory
    result: Row
    completions: list[Row]
    content_hash: str


def gather(run: Run, directory: RunDirectory, model_hash: str = "") -> Outputs:
    """Read what the recipe left. A node that has stored its model gives the `model_hash`. Raises BadOutput when
    something is missing."""
    makes = KINDS[run.kind].makes
    result = directory.result()
    if result is None:
        raise BadOutput("There is no result.json.")
    if KINDS[run.kind].makes_model and not (model_hash or directory.model.is_dir()):
        raise BadOutput(f"The recipe left no model in {directory.model}.")
    for folder in kept_steps.named(directory, result):
        if not (model_hash or folder.is_dir()):
            raise BadOutput(f"The recipe left no model in {folder}.")
    if makes == "dataset" and not any(directory.dataset.glob("*.jsonl")) and not _has_moved(result):
        raise BadOutput(f"The recipe left no rows in {directory.dataset}.")
    return Outputs(
        directory,
        _without_nan(result),
        list(read_lines(directory.path / "completions.jsonl")) if makes == "completions" else [],
        _content_hash(run, directory, result, model_hash),
    )


def _content_hash(run: Run, directory: RunDirectory, result: Row, model_hash: str) -> str:
    kind = KINDS[run.kind]
    if kind.makes_model:
        return result.get("hash") or model_hash or folder_hash(directory.model)
    if kind.makes != "dataset":
        return ""
    content_hash = result.get("hash") or folder_hash(directory.dataset)
    _keep_dataset(directory.dataset, settings.DATASETS_DIR / content_hash)
    return content_hash


def _has_moved(result: Row) -> bool:
    """Return whether an earlier attempt at recording this has moved the rows already."""
    return bool(result.get("hash")) and local_copies.is_available(settings.DATASETS_DIR / result["hash"])


def _keep_dataset(source: Path, folder: Path) -> None:
    """Move rows to where datasets lie, under the name of their content. The same rows frozen twice lie there once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not folder.exists():
        source.rename(folder)


def record(run: Run, outputs: Outputs) -> None:
    """Fill `run.result`, `run.output_model` and `run.completions`; the caller saves the run. Raises BadOutput."""
    kind = KINDS[run.kind]
    run.result = outputs.result
    if not outputs.result.get("stopped"):
        run.step = max(run.step, run.total_steps)
    if kind.makes == "completions":
        if kind.answers_as_new_policy:
            run.output_model = _register_unweighted(run)
        _record_completions(run, outputs.completions, run.output_model or run.parent)
    elif kind.makes == "dataset":
        run.output_dataset = _freeze(run, outputs)
    elif kind.makes_model:
        for folder, row in kept_steps.named(outputs.directory, outputs.result).items():
            _register_kept(run, folder, row)
        run.output_model = _register(run, outputs)
    if kind.record is not None:
        kind.record(run, outputs.directory)


def _record_completions(run: Run, rows: list[Row], model: LanguageModel | None) -> None:
    prompts = _prompts(run, {row["prompt_id"] for row in rows})
    rows = [_split_thoughts(row) for row in rows]
    non_empty = [row for row in rows if row["text"].strip()]
    completions = add_completions(
        rows=[
            NewCompletion(
                prompt=prompts[row["prompt_id"]],
                model=model,
                text=storable(row["text"]),
                sampling=row["sampling"],
                seed=row["seed"],
                tokens=row["tokens"],
                finish_reason=row["finish_reason"],
                source=f"run {run.pk}",
                reasoning=storable(row["reasoning"]),
                prompt_tokens=row.get("prompt_tokens"),
                cost=_cost(row),
            )
            for row in non_empty
        ]
    )
    for start in range(0, len(completions), _CHUNK):
        run.completions.add(*completions[start : start + _CHUNK])
    # There is nothing to judge in an empty answer, but that the model gave it is told.
    run.result = {**run.result, "completions": len(completions), "empty_completions": len(rows) - len(non_empty)}
    if only_thought := sum(bool(row["reasoning"]) and not row["text"].strip() for row in rows):
        run.result["only_reasoning"] = only_thought


def _cost(row: Row) -> Decimal | None:
    """Return dollars; None for more than a completion's field holds: no server's odd count may cost the run."""
    cost = None if row.get("cost") is None else Decimal(row["cost"])
    return cost if cost is not None and cost < _COST_BELOW else None


def _split_thoughts(row: Row) -> Row:
    """Return the answer and its thoughts, as the recipe separated them, else separated here."""
    answer, thoughts = reasoning.split(row["text"])
    return {**row, "text": answer, "reasoning": row.get("reasoning") or thoughts}


def _prompts(run: Run, ids: set[int]) -> dict[int, Prompt]:
    prompts: dict[int, Prompt] = {}
    ordered = sorted(ids)
    for start in range(0, len(ordered), _CHUNK):
        prompts |= Prompt.objects.filter(project=run.project).in_bulk(ordered[start : start + _CHUNK])
    if missing := ids - prompts.keys():
        raise BadOutput(f"completions.jsonl answers prompts that the project does not have, such as {min(missing)}.")
    return prompts


def _freeze(run: Run, outputs: Outputs) -> Dataset:
    """Freeze the dataset. `result.counts` becomes its counts: rows by kind, and what was left out and why."""
    names = Dataset.objects.filter(project=run.project)
    dataset = Dataset.objects.create(
        project=run.project,
        name=_free_name(run, run.name, lambda name: names.filter(name=name).exists()),
        kind=KINDS[run.kind].makes_dataset_kind,
        side=splits.TRAIN,
        content_hash=outputs.content_hash,
        counts=outputs.result.get("counts", {}) | _graded(run),
        created_by=run.created_by,
    )
    announce_dataset(dataset)
    return dataset


def _graded(run: Run) -> dict[str, str]:
    """Return which judge models helped to choose what is in the dataset."""
    judges = judges_in(run.config.get("rewards") or "")
    return {"graded_by": ", ".join(judges)} if judges else {}


def _register(run: Run, outputs: Outputs) -> LanguageModel:
    kind = KINDS[run.kind]
    model = register_model(
        name=_free_model_name(run),
        folder=str(outputs.directory.model.relative_to(settings.DATA_DIR)),
        kind=_model_kind(run),
        parent=run.parent,
        stage=kind.stage,
        licence=(run.parent.licence if run.parent else str(outputs.result.get("licence", "")))[:120],
        origin=_origin(run, outputs.result),
        parameters=_parameters(run),
        content_hash=outputs.content_hash,
        card=_card(run),
        by=run.created_by,
    )
    _mark(model, run)
    if model.kind == LanguageModel.Kind.POLICY and run.enters_arena:
        enter_arena(project=run.project, model=model)
    return model


def _register_kept(run: Run, folder: Path, row: Row) -> None:
    """Register the model of a step: before the run's own, which stays the newest. It enters no arena by itself."""
    name = f"{run.name[:80]}, step {row['step']} of {row['steps']}"
    model = register_model(
        name=_free_name(run, name, _is_model),
        folder=str(folder.relative_to(settings.DATA_DIR)),
        kind=_model_kind(run),
        parent=run.parent,
        stage=KINDS[run.kind].stage,
        licence=run.parent.licence[:120] if run.parent else "",
        origin=f"step {row['step']} of {_origin(run, run.result)}",
        parameters=_parameters(run),
        content_hash=row["hash"],
        card=_card(run) | {"metrics": {"step": row["step"], "steps": row["steps"]}},
        by=run.created_by,
    )
    _mark(model, run)
    KeptCheckpoint.objects.create(run=run, step=row["step"], model=model)


def _model_kind(run: Run) -> str:
    """Return the kind of the models that a run with this result has made."""
    return str(run.result.get("model_kind", KINDS[run.kind].makes))


def _parameters(run: Run) -> int | None:
    return run.result.get("parameters") or (run.parent.parameters if run.parent else None)


def _register_unweighted(run: Run) -> LanguageModel:
    """Register a policy that is a way of choosing among its parent's answers: it has battles on stored answers."""
    model = LanguageModel.objects.create(
        name=_free_model_name(run),
        kind=LanguageModel.Kind.POLICY,
        parent=run.parent,
        stage=KINDS[run.kind].stage.replace("N", str(run.config["candidates"])),
        licence=run.parent.licence if run.parent else "",
        origin=_origin(run, run.result),
        parameters=run.parent.parameters if run.parent else None,
        card=_card(run),
        created_by=run.created_by,
    )
    _mark(model, run)
    if run.enters_arena:
        enter_arena(project=run.project, model=model)
    return model


def _mark(model: LanguageModel, run: Run) -> None:
    """Mark a model that learned from annotations of somebody whose data is erased, as what it learned from says."""
    sources = (run.dataset, run.other_dataset, run.parent, *run.reward_models)
    if moments := [row.erased_person_at for row in sources if row is not None and row.erased_person_at]:
        LanguageModel.objects.filter(pk=model.pk, erased_person_at=None).update(erased_person_at=min(moments))


def _free_model_name(run: Run) -> str:
    """Return the run's name. It was free when the run was queued; somebody may have imported a model under it since."""
    return _free_name(run, run.name, _is_model)


def _free_name(run: Run, name: str, is_taken: Callable[[str], bool]) -> str:
    """Return the name; where it is taken with the run's number behind it, and a further one where that is taken too."""
    return first_free(f"{name[:100]} (run {run.pk})", is_taken) if is_taken(name) else name


def _is_model(name: str) -> bool:
    return LanguageModel.objects.filter(name=name).exists()


def _origin(run: Run, result: Row) -> str:
    if run.parent is not None:
        return f"run {run.pk} from {run.parent.name}"
    return str(result.get("origin") or f"run {run.pk}")[:500]


def _card(run: Run) -> dict[str, Any]:
    dataset = run.dataset
    return {
        "config": run.config,
        "amendments": run.nameless_amendments,
        "seed": run.seed,
        "code_version": run.code_version,
        "dataset": {"id": dataset.pk, "hash": dataset.content_hash, "counts": dataset.counts} if dataset else None,
        "metrics": without_texts(run.result),  # a card is for everybody
    }


def without_texts(result: Row) -> Row:
    """Return a result without the texts that its report shows: rows of a dataset are for those who may review."""
    report = result.get("report")
    return {**result, "report": _textless(report)} if isinstance(report, dict) else result


def _textless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _textless(inner) for name, inner in value.items() if name not in ("samples", "changes")}
    return [_textless(inner) for inner in value] if isinstance(value, list) else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
