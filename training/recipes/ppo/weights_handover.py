"""Hand the trained weights over to the processes that draw: one whole file a step, named and checked by its version.

    rollouts/weights-000003.safetensors   what is trained, in float32: adapters, or every weight; version in its header

The version is a sha256 over names, shapes and bytes of the weights, so that a file that was cut, changed or mixed up is
another version. What is drawn depends on nothing else that changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common import atomic_files
from training.core.run_directory import RecipeFailure

FOLDER = "rollouts"


@dataclass(frozen=True)
class Handover:
    """Name the weights that draw: their file, and the version that must be in it."""

    path: str
    version: str


@torch.no_grad()
def version_of(weights: Mapping[str, Tensor]) -> str:
    """Return the version of weights, the same on every device."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def write_weights(folder: Path, step: int, weights: Mapping[str, Tensor]) -> Handover:
    """Write the weights that draw the answers of a step, whole or not at all; an older file of the step goes."""
    folder.mkdir(exist_ok=True)
    cpus = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    version, path = version_of(cpus), folder / f"weights-{step:06d}.safetensors"
    with atomic_files.replacing(path, is_synced=False) as partial:  # a resumed run writes it again
        save_file(cpus, partial, metadata={"version": version, "step": str(step)})
    return Handover(str(path), version)


@torch.no_grad()
def read_weights(handover: Handover, parameters: Mapping[str, Tensor]) -> None:
    """Take over the weights of a file. Raises RecipeFailure where they are not those that were named."""
    weights = verified_weights(handover)
    if weights.keys() != parameters.keys():
        raise _refusal(handover, "holds weights of other names than this model trains")
    for name, parameter in parameters.items():
        parameter.copy_(weights[name])


def verified_weights(handover: Handover) -> dict[str, Tensor]:
    """Return the weights of a file. Raises RecipeFailure where they are not those that were named."""
    try:
        with safe_open(handover.path, "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, no mapping
    except (OSError, SafetensorError) as error:
        raise _refusal(handover, f"cannot be read: {error}") from error
    if (version := version_of(weights)) != handover.version:
        raise _refusal(handover, f"holds version {version[:12]} and not {handover.version[:12]}")
    return weights


def _refusal(handover: Handover, why: str) -> RecipeFailure:
    return RecipeFailure(
        "weights_refused",
        f"The handed-over weights {Path(handover.path).name} were refused: the file {why}.",
        "Resume: the run writes them again. If that does not help, check the disk of the run directory.",
    )
