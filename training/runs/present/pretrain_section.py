"""Estimate memory and time of every size on this machine, for the form of a pretraining run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError

from annotate.models import Dataset, LanguageModel
from common.texts import percent
from training import configs
from training.configs.presets import PRESETS
from training.core import resource_estimate
from training.models import Run
from training.runs.figures.progress import duration
from training.runs.ordering import machine_speed as machine
from training.runs.ordering.machine_speed import Machine

if TYPE_CHECKING:
    from training.runs.present.run_form import RunForm

VOCABULARY = 8192  # of a tokenizer whose card does not say
BYTES_PER_TOKEN = 4.0


@dataclass(frozen=True)
class Row:
    """One size in words; `method` says how it is computed. `is_chosen` in the form; `fits` the
    memory that is free."""

    size: str
    parameters: str
    memory: str
    method: str
    time: str
    is_chosen: bool
    fits: bool
    seconds: float | None = None
    bytes: float | None = None


def form_context(form: RunForm) -> dict[str, Any]:
    host, chosen = machine.measured(), Choices.of(form)
    if host is None:
        return {"estimates": _rows_of_finished_runs(chosen), "here": None, "tokens": _count(chosen.tokens)}
    return {
        "estimates": [_row(name, chosen, host) for name in PRESETS],
        "here": host,
        "tokens": _count(chosen.tokens),
        "free": f"{host.available / 1e9:.3g} GB",
        "rate": f"{host.flops / 1e12:.2g} TFLOP/s in {host.dtype}, of which steps use "
        f"{percent(min(share for _, share in host.reached))} to {percent(max(share for _, share in host.reached))}",
    }


@dataclass(frozen=True)
class Choices:
    """Hold what memory and time depend on, of a form that may not be complete."""

    config: configs.PretrainConfig
    vocabulary: int
    tokens: float

    @classmethod
    def of(cls, form: RunForm) -> Choices:
        config = configs.parse_valid("pretrain", typed_options(form))
        return cls.of_config(config, value_in(form, "parent"), value_in(form, "dataset"))

    @classmethod
    def of_config(
        cls, config: configs.PretrainConfig, parent: LanguageModel | None, dataset: Dataset | None
    ) -> Choices:
        return cls(config, _vocabulary(parent), _tokens(config, parent, dataset))


def chosen_size(chosen: Choices) -> Row | None:
    """Return the row of the size that is chosen; None where neither a measurement nor an earlier run tells anything."""
    host = machine.measured()
    rows = _rows_of_finished_runs(chosen) if host is None else [_row(chosen.config.size, chosen, host)]
    return next((row for row in rows if row.is_chosen), None)


def _row(name: str, chosen: Choices, host: Machine) -> Row:
    config = chosen.config
    shape = resource_estimate.shape_of(PRESETS[name], chosen.vocabulary, config.objective)
    on_cpu = host.device == "cpu"
    row = Row(name, _count(shape.parameters), memory="", method="", time="", is_chosen=name == config.size, fits=True)
    try:
        plan = resource_estimate.plan(
            shape,
            length=config.context_length,
            batch=math.ceil(config.batch_size / config.processes),
            available=host.available / (config.processes if on_cpu else 1),
            is_bfloat16=_dtype(config, host) == "bfloat16",
            device=host.device,
            rows=config.micro_batch_size,
            checkpointing={"on": True, "off": False}.get(config.activation_checkpointing),
            shares=config.processes if config.sharding == "full" else 1,
        )
    except resource_estimate.DoesNotFit as error:
        return replace(row, memory=f"{error.needed / 1e9:.3g} GB", fits=False, bytes=error.needed)
    twice = ", with recomputed activations" if plan.checkpointing else ""
    needed = plan.bytes * (config.processes if on_cpu else 1)
    seconds = _seconds(name, shape, chosen, host, plan.checkpointing)
    return replace(
        row,
        memory=f"{needed / 1e9:.2g} GB",
        method=f"{plan.rows} of {config.batch_size} rows per forward pass{twice}",
        time=duration(seconds),
        seconds=seconds,
        bytes=needed,
    )


def _rows_of_finished_runs(chosen: Choices) -> list[Row]:
    """Return the sizes of which such a run has succeeded, on whatever machine: all that is known without a measurement.

    A worker that is never idle measures nothing, and one on another machine writes what this page does not read.
    """
    rows = []
    for name in PRESETS:
        if run := _last_run(name, chosen.config):
            shape = resource_estimate.shape_of(PRESETS[name], chosen.vocabulary, chosen.config.objective)
            method = f"as the last such run, on {run.result.get('machine') or 'an unknown machine'}"
            seconds = chosen.tokens / run.result["tokens_per_second"]
            row = Row(name, _count(shape.parameters), "–", method, duration(seconds), name == chosen.config.size, True)
            rows.append(replace(row, seconds=seconds))
    return rows


def _seconds(name: str, shape: resource_estimate.Shape, chosen: Choices, host: Machine, twice: bool) -> float:
    """Return the seconds by the pace of the last such run here, else by the machine's rate."""
    config = chosen.config
    if run := _last_run(name, config, machine_name=host.name):
        return chosen.tokens / run.result["tokens_per_second"]
    count = config.processes if host.device == "cuda" else 1
    rate = host.flops * resource_estimate.reached(shape.width, host.reached) * count
    if _dtype(config, host) != host.dtype:  # float32 where bfloat16 was measured: a fifth of its rate, about
        rate /= 5
    return resource_estimate.seconds(shape, config.context_length, chosen.tokens, rate=rate, checkpointing=twice)


def _last_run(size: str, config: configs.PretrainConfig, machine_name: str = "") -> Run | None:
    """Return the last run of this size, objective and context that told its pace; on the named machine, or on any."""
    alike = {"size": size, "objective": config.objective, "context_length": config.context_length}
    for run in Run.objects.filter(kind="pretrain", state=Run.State.SUCCEEDED).order_by("-pk")[:50]:
        is_there = machine_name in ("", run.result.get("machine"))
        if run.result.get("tokens_per_second") and is_there and all(run.config.get(k) == v for k, v in alike.items()):
            return run
    return None


def typed_options(form: RunForm) -> dict[str, Any]:
    """Return the options that stand in a form, typed in or proposed, without those that are empty or cannot be read."""
    names = [name for name in form.fields if name.startswith("config.")]
    values = {name.removeprefix("config."): value_in(form, name) for name in names}
    return {name: value for name, value in values.items() if value not in (None, "")}


def value_in(form: RunForm, name: str) -> Any:
    """Return what stands in a field, typed in or proposed; None where that is nothing it could mean."""
    try:
        return form.fields[name].clean(form[name].value())
    except ValidationError:
        return None


def _dtype(config: configs.PretrainConfig, host: Machine) -> str:
    return host.dtype if config.dtype == "auto" else config.dtype


def _vocabulary(tokenizer: LanguageModel | None) -> int:
    metrics = tokenizer.card.get("metrics", {}) if tokenizer else {}
    return int(metrics.get("vocab_size") or VOCABULARY)


def _tokens(config: configs.PretrainConfig, tokenizer: LanguageModel | None, dataset: Dataset | None) -> float:
    metrics = tokenizer.card.get("metrics", {}) if tokenizer else {}
    size = float(dataset.counts.get("bytes") or 0) if dataset else 0.0
    tokens = size / float(metrics.get("bytes_per_token") or BYTES_PER_TOKEN) * config.epochs
    return min(tokens, config.max_tokens) if config.max_tokens else tokens


def _count(value: float) -> str:
    """Return the count as 12 M, 1.3 B, 640 K."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f}"
