"""Save and load what several processes hold in shares, by torch's distributed checkpoints.

Each process writes its share into one folder as safetensors: reading them runs nothing that is in a file, where torch's
own format is a pickle. Any number of processes reads them, one too: each takes its part out of the whole. What one
process has saved is read by several as well.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor, distribute_tensor

from training.core.run_directory import RecipeFailure

_WEIGHT = "weight"


def holds_shares(folder: Path) -> bool:
    """Return whether a checkpoint was written by several processes, each its share."""
    return any(folder.glob("shard-*.safetensors"))


def are_split(parameters: dict[str, Tensor]) -> bool:
    return any(isinstance(parameter, DTensor) for parameter in parameters.values())


def save(folder: Path, parameters: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    """Write weights and moments. All processes take part."""
    state = {f"{_WEIGHT}/{name}": parameter.detach() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        moments = optimiser.state.get(parameter, {})
        state |= {f"{moment}/{name}": value for moment, value in moments.items()}
    dcp.save(state, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


@torch.no_grad()
def load(folder: Path, parameters: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    """Fill weights and moments with what any number of processes has saved. Raises RecipeFailure for other weights."""
    reader = HuggingFaceStorageReader(str(folder))
    state: dict[str, Tensor] = {}
    for key, stored in reader.read_metadata().state_dict_metadata.items():
        moment, _, name = key.partition("/")
        parameter = parameters.get(name)
        if parameter is None or not isinstance(stored, TensorStorageMetadata):
            raise mismatch(folder)
        if moment == _WEIGHT and stored.size != parameter.shape:
            raise mismatch(folder)
        if moment == _WEIGHT:
            state[key] = parameter.detach()
            continue
        is_like = stored.size == parameter.shape
        begun = torch.zeros_like(parameter) if is_like else torch.zeros(stored.size, device=parameter.device)
        state[key] = optimiser.state[parameter][moment] = begun
    if {key.partition("/")[2] for key in state if key.startswith(f"{_WEIGHT}/")} != parameters.keys():
        raise mismatch(folder)
    dcp.load(state, storage_reader=reader, no_dist=not dist.is_initialized())


@torch.no_grad()
def spread(whole: Tensor, over: Tensor) -> Tensor:
    """Return a whole tensor as `over` is held: this process's share of it, or all of it."""
    if not isinstance(over, DTensor):
        return whole
    return distribute_tensor(whole.to(over.device), over.device_mesh, over.placements, src_data_rank=None)


def load_moments(stored: dict[str, Any], parameters: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    """Fill an optimiser with the state that one process has saved of its own."""
    if are_split(parameters):
        _spread_moments(stored["state"], optimiser)
    else:
        optimiser.load_state_dict(stored)


def _spread_moments(states: dict[int, dict[str, Tensor]], optimiser: torch.optim.Optimizer) -> None:
    """Fill an optimiser's moments from those that one process has saved, by the order of its parameters."""
    ordered = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for index, moments in states.items():
        parameter = ordered[index]
        optimiser.state[parameter] = {
            name: spread(value, parameter) if value.shape == parameter.shape else value.to(parameter.device)
            for name, value in moments.items()
        }


def mismatch(folder: Path) -> RecipeFailure:
    return RecipeFailure(
        "checkpoint_mismatch",
        f"The checkpoint in {folder.name} has other weights than this config trains.",
        "Start a new run: an existing one keeps its config.",
    )
