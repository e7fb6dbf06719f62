"""Check an order before a run is queued. Every error is found at once, and names its field and the remedy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from annotate.core.artefacts import local_copies
from annotate.core.errors import Refused
from annotate.core.typed_texts import checked_name
from annotate.data.rows.task_families import TASKS
from annotate.language_models.actions import NOT_HERE
from annotate.models import Dataset, LanguageModel, Project
from common import splits
from common.texts import first_free
from training import configs
from training.core.file_checks.trainable import config_of_folder, training_errors
from training.core.kinds import KINDS, Kind, Order
from training.models import Run
from training.runs.ordering import reward_functions
from training.runs.ordering.reward_order import named_models, part_errors, reward_errors, trust_errors

Errors = dict[str, str]


def check_order(
    *,
    kind: str,
    project: Project,
    name: str,
    parent: LanguageModel | None,
    dataset: Dataset | None,
    other_dataset: Dataset | None,
    reward_model: LanguageModel | None,
    config: dict[str, Any],
    seed: int,
) -> Any:
    """Return the validated config. Raises Refused: 409 when only the state of a model or a name is in the way."""
    order = require_kind(kind)
    _check_tenancy(project, parent=parent, reward_model=reward_model)
    check_in_use(parent=parent, reward_model=reward_model)
    errors = _parent_errors(order, parent, config) | _dataset_errors(order, project, dataset) | _seed_errors(seed)
    errors |= _other_dataset_errors(order, project, other_dataset)
    checked = None
    try:
        checked = configs.parse(kind, config)
    except configs.ConfigError as error:
        errors |= {f"config.{field}": text for field, text in error.errors.items()}
    if checked is not None and order.check is not None:
        errors |= {f"config.{field}": text for field, text in order.check(project, checked).items()}
    if checked is not None and order.fits is not None and parent is not None:
        errors |= {f"config.{field}": text for field, text in order.fits(parent, checked).items()}
    if checked is not None and parent is not None and "parent" not in errors:
        errors |= _training_errors(kind, parent, dataset, checked)
    errors |= reward_errors(order, reward_model, config, checked)
    errors |= _function_errors(getattr(checked, "reward_function", ""))
    errors |= trust_errors(reward_model, checked)
    if checked is not None and order.takes_reward_model:
        check_in_use(**{f"config.rewards: {name}": m for name, m in named_models(project, checked).items()})
        errors |= part_errors(project, dataset, checked)
    if checked is not None and order.suits is not None:
        errors |= order.suits(Order(project, parent, dataset, other_dataset, reward_model, checked))
    try:
        check_name(kind=kind, project=project, name=name)
    except Refused as refused:
        if not errors:
            raise
        errors |= refused.errors
    if errors:
        raise Refused(400, **errors)
    return checked


def require_kind(name: str) -> Kind:
    """Return the kind of that name. Raises Refused, naming those that there are."""
    if name not in KINDS:
        raise Refused(400, kind=f"{name!r} is not a kind of run; use one of {', '.join(KINDS)}.")
    return KINDS[name]


def _check_tenancy(project: Project, **models: LanguageModel | None) -> None:
    """Check that models are the project's own or shared; of others it is not disclosed whether they exist."""
    id_by_field = {field: model.pk for field, model in models.items() if model is not None}
    usable = set(
        LanguageModel.objects.usable_in(project).filter(pk__in=id_by_field.values()).values_list("pk", flat=True)
    )
    if errors := {
        field: NOT_HERE.format(project=project.name) for field, pk in id_by_field.items() if pk not in usable
    }:
        raise Refused(400, **errors)


def check_in_use(**models: LanguageModel | None) -> None:
    """Check that nobody has retired a model that the run starts from."""
    if errors := {field: _retired(model) for field, model in models.items() if model is not None and model.retired_at}:
        raise Refused(409, **errors)


def check_name(*, kind: str, project: Project, name: str) -> None:
    """Check a name that a model may have when the run ends: free now, and promised to no run under way."""
    name = checked_name(name, purpose="; it is also the name of the new model")
    if words := _taken(kind, project, name):
        raise Refused(409, name=words)


def free_name(*, kind: str, project: Project, name: str) -> str:
    """Return the name, or with the first number behind it that `check_name` would let pass."""
    return first_free(name, lambda free: bool(_taken(kind, project, free)))


def _taken(kind: str, project: Project, name: str) -> str:
    """Return what has the name already, in words; empty where nothing has."""
    makers = [k.name for k in KINDS.values() if k.names_model]
    unfinished = Run.objects.unfinished().filter(name=name)
    unfinished = unfinished.filter(kind__in=makers) if kind in makers else unfinished.filter(project=project, kind=kind)
    if run := unfinished.first():
        return f"Run {run.pk} already has this name and is not finished; choose another name."
    if kind in makers and LanguageModel.objects.filter(name=name).exists():
        return f"There is already a model {name}; choose another name."
    return ""


def _retired(model: LanguageModel) -> str:
    reason = f" ({model.retired_reason})" if model.retired_reason else ""
    return f"{model.name} is retired{reason}; choose a model that is still in use."


def _parent_errors(order: Kind, parent: LanguageModel | None, config: dict[str, Any]) -> Errors:
    kinds = " or ".join(order.parent_kinds)
    if parent is None:
        return {"parent": f"Choose the {kinds} to start from."} if kinds else {}
    if not kinds:
        return {"parent": f"A run of kind {order.name} needs no model; leave it out."}
    if parent.kind not in order.parent_kinds:
        return {"parent": f"{parent.name} is a {parent.kind}, and a run of kind {order.name} needs a {kinds}."}
    if parent.path is None and order.reads_weights(parent, config):
        return {
            "parent": f"The weights of {parent.name} are not on this machine; import them, or choose another model."
        }
    return {}


def _training_errors(kind: str, parent: LanguageModel, dataset: Dataset | None, config: Any) -> Errors:
    """Return what a recipe would refuse the model for, or how it would train it, once it has started."""
    try:
        described = config_of_folder(parent.path)
    except (OSError, ValueError):
        return {}  # the recipe names the file
    if kind == "reward" and not config.wants_finetuning(count_annotations(dataset)):
        config = replace(config, method="head")  # as the recipe chooses
    errors = training_errors(kind, described, config) if described else {}
    return {field: f"{parent.name}: {text}" if field == "parent" else text for field, text in errors.items()}


def count_annotations(dataset: Dataset | None) -> int:
    """Return the comparisons and ratings of a dataset, those by which a reward model chooses its method."""
    counts = dataset.counts if dataset is not None else {}
    return int(counts.get("comparisons", 0) + counts.get("ratings", 0))


def _dataset_errors(order: Kind, project: Project, dataset: Dataset | None) -> Errors:
    if not order.dataset_kind:
        return {} if dataset is None else {"dataset": f"A run of kind {order.name} needs no dataset; leave it out."}
    if dataset is None:
        return {"dataset": f"Choose a dataset of kind {order.dataset_kind}."}
    if dataset.project_id != project.pk:
        return {"dataset": f"{dataset.name} belongs to another project; freeze one in {project.name}."}
    if dataset.kind != order.dataset_kind:
        return {
            "dataset": f"{dataset.name} is a dataset of {dataset.kind}; a run of kind {order.name} needs "
            f"{order.dataset_kind}; choose or freeze one."
        }
    if order.train_split_only and dataset.side != splits.TRAIN:
        return {
            "dataset": f"{dataset.name} is in the {dataset.side} split, which ranks models and must not train one; "
            "choose a dataset in the train split."
        }
    if order.name == "reward" and dataset.counts.get("enough") is False:
        text = " ".join(filter(None, (dataset.counts.get("sentence"), dataset.counts.get("reason"))))
        return {"dataset": f"{dataset.name} has too few informative annotations. {text}".strip()}
    if order.name == "classify" and (text := _no_labels(dataset)):
        return {"dataset": text}
    return _missing_files("dataset", dataset)


def _no_labels(dataset: Dataset) -> str:
    """Return why no classifier could learn from it, as far as its counts tell."""
    task, labels = TASKS.get(dataset.counts.get("task", "")), dataset.counts.get("labels")
    if task is not None and not task.is_classification:
        return (
            f"{dataset.name} has the task {task.name}, whose answers are not labels; choose one with labels, or turn "
            "it into instructions for SFT."
        )
    if isinstance(labels, dict) and len(labels) == 1:
        return (
            f"Every text of {dataset.name} has the label {next(iter(labels))!r}; upload texts with at least two labels."
        )
    return ""


def _other_dataset_errors(order: Kind, project: Project, dataset: Dataset | None) -> Errors:
    if dataset is None:
        return {}
    if not order.other_kinds:
        return {"other_dataset": f"A run of kind {order.name} needs no second dataset; leave it out."}
    if dataset.project_id != project.pk:
        return {"other_dataset": f"{dataset.name} belongs to another project; create one in {project.name}."}
    if dataset.kind not in order.other_kinds:
        kinds = " or ".join(order.other_kinds)
        return {
            "other_dataset": f"{dataset.name} is a dataset of {dataset.kind}; a run of kind {order.name} needs "
            f"{kinds} here."
        }
    if order.train_split_only and dataset.side != splits.TRAIN:
        return {"other_dataset": f"{dataset.name} is in the {dataset.side} split; choose one in the train split."}
    return _missing_files("other_dataset", dataset)


def _missing_files(field: str, dataset: Dataset) -> Errors:
    if not local_copies.is_available(dataset.path):
        return {field: f"The files of {dataset.name} are missing from {dataset.path}; freeze it again."}
    return {}


def _function_errors(name: str) -> Errors:
    """Refuse a reward function that the operator does not list: a dotted path that anybody may choose is a shell for
    anybody."""
    try:
        if name:
            reward_functions.path_of(name)
    except ValueError as error:
        return {"config.reward_function": str(error)}
    return {}


def _seed_errors(seed: Any) -> Errors:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        return {"seed": f"Enter a whole number from 0 to 2^63 - 1, not {seed!r}."}
    return {}
