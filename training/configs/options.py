"""Declare hyperparameters: dataclass fields with help, bounds and choices, and the check that names them."""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from typing import Any, Protocol

from common.texts import is_storable


class ConfigError(ValueError):
    """Raised when a config is not valid. `errors` maps a field's name to what is wrong with it and what would be
    right."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = errors


@functools.cache
def types_of(config: type) -> dict[str, Any]:
    """Return the type of each option of a config's dataclass; kept, since Python compiles the annotations each time."""
    return typing.get_type_hints(config)


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
    advanced: bool = False,
    multiline: bool = False,
    only: tuple[str, ...] = (),
    read: Callable[[Any], str] | None = None,
) -> Any:
    """Declare a hyperparameter with what a form needs to show it and a check needs to refuse it.

    `only` names the measures of an evaluation for which it means something; () is all. `read` makes the kept text of
    what is given, for texts with a grammar of their own.
    """
    bounds = {"low": low, "high": high, "choices": choices}
    metadata = {"help": help, **bounds, "advanced": advanced, "multiline": multiline, "only": only, "read": read}
    return field(default=default, metadata=metadata)


def sharding_option() -> Any:
    """Declare how several processes hold a model."""
    return option(
        "none",
        "with several processes, none: each holds the whole model; full: weights, gradients and moments are split over "
        "them (FSDP), for models that do not fit one GPU",
        choices=("none", "full"),
        advanced=True,
    )


def nodes_option() -> Any:
    """Declare over how many nodes of a cluster the processes of a run are spread."""
    return option(
        1,
        "nodes of a Ray cluster over which the processes are spread, as many on each",
        low=1,
        high=64,
        advanced=True,
    )


def kept_checkpoints_option() -> Any:
    """Declare how many models of steps before the last a run leaves beside its result."""
    return option(
        0,
        "earlier steps, evenly spaced, whose models are kept beside the result, each a model of its own; 0: none",
        low=0,
        high=20,
        advanced=True,
    )


class ForwardPasses:
    """Say how many rows all processes of a config together take in one forward pass, and which option says so."""

    batch_size: int
    micro_batch_size: int

    @property
    def rows_at_once(self) -> int:
        return self.micro_batch_size or self.batch_size

    @property
    def limit(self) -> str:
        return "micro_batch_size" if self.micro_batch_size else "batch_size"

    def check_micro_batches(self) -> dict[str, str]:
        """Return what is wrong with micro_batch_size."""
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            return {"micro_batch_size": f"must divide batch_size, {self.batch_size}, or be 0."}
        return {}


class SeveralProcesses(Protocol):
    """A config with these options."""

    @property
    def processes(self) -> int: ...

    @property
    def nodes(self) -> int: ...

    @property
    def sharding(self) -> str: ...


def check_processes(
    config: SeveralProcesses, *, batch_size: int, rows: str, limit: str = "batch_size"
) -> dict[str, str]:
    """Return what is wrong with the processes of a config whose steps take `batch_size` of those `rows`, by the option
    `limit`."""
    processes = config.processes
    if processes > batch_size:
        return {"processes": f"must be at most {limit} ({batch_size}): each process takes a share of the {rows}."}
    if processes % config.nodes:
        return {"nodes": f"must divide processes ({processes}): each node takes as many."}
    if config.sharding == "full" and processes == 1:
        return {"sharding": "full splits a model over several processes; set processes to 2 or more, or sharding none."}
    return {}


def learning_rate_option(help: str, *, adapters: float, full: float) -> Any:
    """Declare a learning rate that depends on what is trained: every weight takes a tenth of what adapters take,
    about."""
    text = f"{help}; empty: {adapters:g} for adapters, {full:g} for all weights (adapters: full)"
    return option(None, text, low=1e-8, high=1)


class RateByAdapters:
    """Let an empty `learning_rate` follow from `adapters`, by the `rates` of a kind."""

    rates: typing.ClassVar[dict[str, float]]
    adapters: str
    learning_rate: float | None

    @property
    def rate(self) -> float:
        return self.derived()["learning_rate"] if self.learning_rate is None else self.learning_rate

    def derived(self) -> dict[str, float]:
        """Return what options are when they are left empty."""
        return {"learning_rate": self.rates["full" if self.adapters == "full" else "adapters"]}


def check(value: Any, hint: Any, metadata: typing.Mapping[str, Any]) -> Any:
    """Return the value as its option takes it. Raises ValueError with the remedy; ConfigError where parts of it are
    wrong, by their names behind the option's."""
    if read := metadata.get("read"):
        value = read(value)
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in allowed:
        return None
    expected = next(t for t in allowed if t is not type(None))
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        with suppress(OverflowError):  # then it is no number that an option takes
            value = float(value)
    if not isinstance(value, expected) or (expected is not bool and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ValueError(f"must be {names[expected]}, not {value!r}.")
    if metadata.get("choices") and value not in metadata["choices"]:
        raise ValueError(f"must be one of {', '.join(metadata['choices'])}, not {value!r}.")
    low, high = metadata.get("low"), metadata.get("high")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"must be a number, not {value}.")
    if isinstance(value, str) and not is_storable(value):
        raise ValueError("contains a NUL or half a surrogate pair; use valid UTF-8 text.")
    if low is not None and value < low and high is not None and high >= 10_000:
        raise ValueError(f"must be at least {low:g}, not {value!r}.")  # nobody meets that upper bound
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"must be between {low:g} and {high:g}, not {value!r}.")
    return value
