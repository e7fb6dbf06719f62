"""Lay the run directory of an attempt: config, frozen rows, the places of the models. It is all that a recipe gets."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from django.conf import settings

from annotate.core.artefacts import local_copies
from annotate.models import Dataset, LanguageModel
from training import configs
from training.core import adapter_base
from training.core.kinds import KINDS
from training.core.run_directory import RecipeFailure, Row, RunDirectory, RunSpec
from training.models import Run
from training.runs.launchers.storage_relay.node_inputs import LIST, Inputs
from training.runs.ordering import hub_access as hubs
from training.runs.ordering import reward_functions
from training.runs.queue import asked_models
from training.storage import stored_runs

_CORPUS_FOLDERS = ["corpora", "corpus-uploads"]


def claim_directory(run: Run) -> RunDirectory:
    """Return the run's directory, which is there and says whose it is. One of another database is set aside."""
    directory = RunDirectory(run.path)
    _set_a_stranger_aside(run)
    run.path.mkdir(parents=True, exist_ok=True)
    directory.identify(stored_runs.identity_of(run))
    return directory


def prepare(run: Run, *, is_remote: bool = False) -> RunDirectory:
    """Return the directory, ready for a recipe; what earlier attempts of this run left in it stays. Raises
    RecipeFailure.

    Where the recipe is remote, this holds what its node cannot know, and says what else is to be brought there.
    """
    directory = claim_directory(run)
    config = _config(run)
    _check_repository(run)
    data = run.path / "data"
    data.mkdir(parents=True, exist_ok=True)
    # What an earlier attempt died of, or waited for, must not be told of this one.
    for leftover in ("failure.json", "paused.json"):
        (run.path / leftover).unlink(missing_ok=True)
    if run.amendments:
        directory.amend(run.nameless_amendments)
    if is_remote:
        _list_inputs(run)
    else:
        (run.path / LIST).unlink(missing_ok=True)
        _bring_datasets(run, data)
    rows = KINDS[run.kind].rows
    # config.json is written after them all: without it, a worker that died has left some, and the texts that must not
    # be learnt may be missing.
    are_laid = (run.path / "config.json").exists()
    own_rows = rows(run) if rows is not None and not are_laid else {}
    directory.create(
        RunSpec(
            kind=run.kind,
            config=config,
            seed=run.seed,
            parent=_parent_weights(run),
            reward_model=_weights(run.reward_model),
            reward_models=_named_reward_models(run),
            dataset_hash=run.dataset.content_hash if run.dataset else "",
            code_version=run.code_version,
            ancestor=_ancestor(run),
            trained_on=_trained_on(run),
            parent_hash=run.parent.content_hash if run.parent else "",
            endpoints=asked_models.endpoints_of(run),
        ),
        {name: iter(lines) for name, lines in own_rows.items()},
    )
    return directory


def _bring_datasets(run: Run, data: Path) -> None:
    if run.dataset is not None:
        _bring_rows(run.dataset.path, data)
    if run.other_dataset is not None:
        (data / "other").mkdir(exist_ok=True)
        _bring_rows(run.other_dataset.path, data / "other")


def _list_inputs(run: Run) -> None:
    """Write down what a node is to bring from the storage."""
    datasets = {"data": run.dataset, "data/other": run.other_dataset}
    names = [local_copies.name_of(folder) for folder in input_folders(run)]
    Inputs(
        data_folder=str(settings.DATA_DIR.resolve()),
        folders=[name for name in names if name],
        below=_CORPUS_FOLDERS if run.kind == "corpus" else [],
        rows={place: local_copies.name_of(one.path) for place, one in datasets.items() if one is not None},
    ).write(run.path)


def _set_a_stranger_aside(run: Run) -> None:
    """Set aside a directory of another database: the old run 7 is not ours, and its result must not become ours."""
    identity, own = run.path / "identity", stored_runs.identity_of(run)
    if run.path.exists() and (not identity.exists() or identity.read_text(encoding="utf-8") != own):
        run.path.rename(run.path.with_name(f"{run.path.name}.before-{time.time_ns()}"))


def _config(run: Run) -> Row:
    """Return the config with the dotted path of its reward, of those that the operator lists now.

    Another path than an earlier attempt was given ends the run: half of it would have pleased another reward.
    """
    name = run.config.get("reward_function")
    if not name:
        return run.config
    try:
        path = reward_functions.path_of(name)
    except ValueError as error:
        remedy = "Ask the operator to list it, or queue the run again with a listed function or a reward model."
        raise RecipeFailure("reward_not_allowed", f"reward_function {error}", remedy) from error
    laid = run.path / "config.json"
    before = RunDirectory(run.path).spec().config.get("reward_function") if laid.exists() else path
    if before != path:
        raise RecipeFailure(
            "reward_changed",
            f"{name!r} was {before} when this run started; the operator has changed it to {path}.",
            "Queue the run again: it starts with the current function.",
        )
    return {**run.config, "reward_function": path}


def _check_repository(run: Run) -> None:
    """Check that a model goes only where the operator lets it go now. Raises RecipeFailure."""
    if run.kind != "export":
        return
    if errors := hubs.check_export(run.project, configs.parse("export", run.config)):
        remedy = "Queue the export again with a listed repository, or as a file."
        raise RecipeFailure("hub_repository", f"repository: {errors['repository']}", remedy)


def _bring_rows(source: Path, target: Path) -> None:
    """Bring rows by hard links where the file system has them: a dataset is frozen, so nobody writes to either name."""
    files = sorted(source.glob("*.jsonl"))
    if not files:
        raise RecipeFailure("no_data", f"The dataset's files are missing from {source}.", "Freeze the dataset again.")
    for file in files:
        path = target / file.name
        path.unlink(missing_ok=True)
        try:
            os.link(file, path)
        except OSError:
            shutil.copy2(file, path)


def input_folders(run: Run) -> list[Path]:
    """Return the folders of all models and datasets that a run reads, whether they are here or not."""
    models = [run.parent if _reads_parent(run) else None, *run.reward_models, _ancestor_model(run)]
    datasets = [run.dataset, run.other_dataset, *_trained_on_datasets(run)]
    folders = [model.path for model in models if model is not None] + [d.path for d in datasets if d is not None]
    return list(dict.fromkeys(folder for folder in folders if folder is not None))


def bring_base(folder: Path) -> None:
    """Fetch the full weights that an adapter's folder names, where they are not here. Raises StorageProblem."""
    if not adapter_base.is_adapter(folder) or adapter_base.find_base(folder) is not None:
        return
    about = adapter_base.read_about(folder)
    for candidate in adapter_base.candidates(folder, about.get("folder", ""), about.get("was", "")):
        path = Path(os.path.normpath(candidate))
        if path != folder and local_copies.name_of(path) and local_copies.is_available(path):
            local_copies.bring(path)
            return


def _ancestor_model(run: Run) -> LanguageModel | None:
    """Return the model that the parent was made from; None where it is of another kind, or nobody asks."""
    if not KINDS[run.kind].compares_with_ancestor or run.parent is None or run.parent.parent is None:
        return None
    return run.parent.parent if run.parent.parent.kind == run.parent.kind else None


def _ancestor(run: Run) -> str:
    """Return the weights that the parent was made from; empty where they are gone, or nobody asks."""
    ancestor = _ancestor_model(run)
    path = ancestor.path if ancestor is not None else None
    return str(path.resolve()) if path is not None and local_copies.is_available(path) else ""


def _trained_on(run: Run) -> list[str]:
    """Return the folders of what the parent and its ancestors were taught, those that are here."""
    folders = [dataset.path for dataset in _trained_on_datasets(run) if local_copies.is_available(dataset.path)]
    return [str(folder.resolve()) for folder in dict.fromkeys(folders)]


def _trained_on_datasets(run: Run) -> list[Dataset]:
    """Return the datasets of the runs that made the parent and its ancestors, reward models' aside: those taught no
    answer.

    What a model learnt before it came here is unknown, and not in it.
    """
    if not KINDS[run.kind].sees_training_data:
        return []
    datasets: list[Dataset] = []
    model, visited = run.parent, set()
    while model is not None and model.pk not in visited:
        visited.add(model.pk)
        maker: Run | None = model.maker
        if maker is not None:
            datasets += [dataset for dataset in (maker.dataset, maker.other_dataset) if dataset is not None]
        model = model.parent
    return datasets


def _named_reward_models(run: Run) -> dict[str, Row]:
    """Return folder and hash of the reward models of a run whose reward has parts, by name."""
    if not run.config.get("rewards"):
        return {}
    return {model.name: {"folder": _weights(model), "hash": model.content_hash} for model in run.reward_models}


def _reads_parent(run: Run) -> bool:
    return run.parent is not None and KINDS[run.kind].reads_weights(run.parent, run.config)


def _parent_weights(run: Run) -> str:
    return _weights(run.parent) if _reads_parent(run) else ""


def _weights(model: LanguageModel | None) -> str:
    if model is None:
        return ""
    if model.path is None or not local_copies.is_available(model.path):
        raise RecipeFailure(
            "no_weights",
            f"The weights of {model.name} are not at {model.path}.",
            "Restore the folder, or start from another model.",
        )
    return str(model.path.resolve())
