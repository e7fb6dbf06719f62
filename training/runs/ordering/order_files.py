"""Write and read a run's order as a file: all that `queue_run` takes, by names and hashes that mean it elsewhere.

    kind: sft
    name: tidewater-sft-7
    project: tidewater
    parent: {name: SmolLM2, hash: 1f0c…}
    dataset: {name: best answers, hash: 9a31…}
    seed: 7
    config: {learning_rate: 0.0002, …}
    code_version: 0.3.0+12938ad

A model or a dataset may also be given by its name alone. Where a hash is given it must be the one that is here: the
same order on other data is another order.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from typing import Any

import yaml
from django.db.models import QuerySet

from annotate.core.errors import Refused
from annotate.core.typed_texts import NotPlain, require_plain_yaml
from annotate.models import Dataset, LanguageModel, Project
from common.texts import is_storable
from training.configs import CONFIGS, current_names
from training.models import Run
from training.runs.ordering.code_version import code_version

FIELDS = (
    *("kind", "name", "project", "parent", "dataset", "other_dataset", "reward_model", "other_reward_models"),
    *("seed", "config", "code_version"),
)
_TOO_LONG = 200_000  # characters; an order has two thousand


@dataclass(frozen=True)
class Order:
    """An order as `queue_run` takes it, and the notes about it."""

    arguments: dict[str, Any]
    notes: tuple[str, ...] = ()


def written(run: Run) -> str:
    """Return the order of this run as YAML."""
    order: dict[str, Any] = {"kind": run.kind, "name": run.name, "project": run.project.slug}
    for field in ("parent", "dataset", "other_dataset", "reward_model"):
        if (row := getattr(run, field)) is not None:
            order[field] = {"name": row.name, "hash": row.content_hash} if row.content_hash else {"name": row.name}
    if others := run.reward_models[1:]:
        order["other_reward_models"] = [{"name": model.name, "hash": model.content_hash} for model in others]
    order |= {"seed": run.seed, "config": _in_order(run), "code_version": run.code_version}
    head = f"# Run {run.pk} of Assay. Queue it again: manage.py queue_run FILE, or under Runs, New run, From a file.\n"
    return head + yaml.dump(order, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000)


def _in_order(run: Run) -> dict[str, Any]:
    """Return the options as their dataclass has them: Postgres keeps the keys of a JSON object in an order of its
    own."""
    option_names = [field.name for field in fields(CONFIGS[run.kind])] if run.kind in CONFIGS else []
    rank = {name: index for index, name in enumerate(option_names)}
    options = current_names(run.kind, run.config)
    return dict(sorted(options.items(), key=lambda option: (rank.get(option[0], len(rank)), option[0])))


def read(text: str) -> dict[str, Any]:
    """Return the fields of an order. Refused with the line when it is no YAML, and with the field when one is
    unknown."""
    if len(text) > _TOO_LONG:
        raise Refused(413, yaml=f"The file has more than {_TOO_LONG:,} characters; send the YAML of one run.")
    try:
        require_plain_yaml(text)
        order = yaml.load(text, Loader=_Loader)
    except NotPlain as error:
        raise Refused(400, yaml=str(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(400, yaml=f"This is not valid YAML: {_place(error)}") from error
    if not is_storable(json.dumps(order, ensure_ascii=False, default=str, skipkeys=True).replace("\\u0000", "\x00")):
        raise Refused(400, yaml="It contains a NUL or half a surrogate pair; use valid UTF-8 text.")
    if not isinstance(order, dict):
        raise Refused(
            400, yaml="Write the run as fields, such as `kind: sft`; download the YAML of a run for an example."
        )
    if unknown := [str(name) for name in order if name not in FIELDS]:
        raise Refused(
            400, **{name: f"is not a field of a run; the fields are {', '.join(FIELDS)}." for name in unknown}
        )
    return order


def value_of(text: str) -> Any:
    """Return one value as YAML has it: a number, true, a text."""
    try:
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Refused(400, yaml=f"{text!r} is not a value: {_place(error)}") from error


def resolve(order: dict[str, Any], project: Project) -> Order:
    """Replace names by rows of this project. Refused with every field that names what is not here, or is not the
    same."""
    errors: dict[str, str] = {}
    arguments: dict[str, Any] = {"kind": order.get("kind", ""), "name": order.get("name", "")}
    for field in ("kind", "name"):
        if not isinstance(arguments[field], str):
            errors[field] = f"must be a text, not {arguments[field]!r}; put it in quotation marks."
    models, datasets = LanguageModel.objects.usable_in(project), Dataset.objects.filter(project=project)
    for field, queryset in (
        *(("parent", models), ("reward_model", models)),
        *(("dataset", datasets), ("other_dataset", datasets)),
    ):
        arguments[field], error = _named(order.get(field), queryset, project)
        errors |= {field: error} if error else {}
    # The config names them; here it is only seen to that they are the same.
    others = order.get("other_reward_models") or []
    for one in others if isinstance(others, list) else [others]:
        _, error = _named(one, models, project)
        errors |= {"other_reward_models": error} if error else {}
    config = order.get("config") or {}
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        errors["config"] = "must be options with their values, such as `config: {learning_rate: 0.0002}`."
    if errors:
        raise Refused(400, **errors)
    return Order(arguments | {"config": config, "seed": order.get("seed", 0)}, tuple(_notes(order, project)))


def _named(name_or_fields: Any, queryset: QuerySet[Any], project: Project) -> tuple[Any, str]:
    """Return (the row, nothing) or (None, what is wrong)."""
    if name_or_fields is None:
        return None, ""
    fields = {"name": name_or_fields} if isinstance(name_or_fields, str) else name_or_fields
    if not isinstance(fields, dict) or not fields or not set(fields) <= {"name", "hash"}:
        return None, "must be a name, or {name: …, hash: …}."
    name, hash = fields.get("name"), fields.get("hash")
    if not all(value is None or isinstance(value, str) for value in (name, hash)):
        return None, "name and hash must be texts; put them in quotation marks."
    row = queryset.filter(name=name).first() if name else None
    if hash and (row is None or row.content_hash != hash):
        same = queryset.filter(content_hash=hash).first()  # the same content under another name is the same
        if same is not None:
            return same, ""
        if row is not None:
            return None, (
                f"{name} has the hash {row.content_hash[:12] or 'of no content'} here and {hash[:12]} in the file: "
                "the content differs. Import that one, or remove the hash from the file to use the one here."
            )
    if row is None:
        place = f"in {project.name}" if queryset.model is Dataset else "here"
        return None, f"There is no {name!r} {place}; import it under that name, or use another one."
    return row, ""


def _notes(order: dict[str, Any], project: Project) -> list[str]:
    notes = []
    if (slug := order.get("project")) and slug != project.slug:
        notes.append(f"The file names the project {slug}; it is queued in {project.slug}.")
    version, own_version = order.get("code_version"), code_version()
    if version and own_version and version != own_version:
        notes.append(f"The file was written by code {version}; this is {own_version}, so figures can differ.")
    return notes


def _place(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error)
    return f"{problem}, in line {mark.line + 1}, column {mark.column + 1}." if mark else f"{problem}."


class _Dumper(yaml.SafeDumper):
    """Write 1e-05 as a number."""


class _Loader(yaml.SafeLoader):
    """Read 1e-05 as one: YAML 1.1 takes it for a text, and whoever writes a learning rate does not."""


_EXPONENT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
for _class in (_Dumper, _Loader):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))
