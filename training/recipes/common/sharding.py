"""Split a model over the processes of a run: weights, gradients and moments, each process its share (FSDP2).

    shard      each transformer block is a unit that gathers its weights as it runs; the rest is another, the root
    whole      all weights on each process for a while: it samples by itself, with no message a token
    call       whatever reads the root's weights runs inside it: losses, hidden states
    gathered   the whole weights, on the first process, to be saved

Weights that learn are float32, and so are the sums of their gradients; with a `dtype` the blocks multiply in it, as
with float32 masters on one process (`fp32_master_weights`). Gradients are added up and never averaged, as in
`processes`: gloo takes an average for a sum, and the loss is a mean over the whole batch already. Every forward is one
of all processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from training.core.run_directory import RecipeFailure
from training.rl.module_decoder import ModuleDecoder

T = TypeVar("T")
_CALL, _DTYPE = "assay_call", "assay_dtype"


def shard(model: Any, dtype: torch.dtype | None = None) -> None:
    """Split the parameters of a model of transformers in place. They multiply in `dtype`; None: in the one they have.

    Parameters move to this process's GPU block by block, if it has one. Raises RecipeFailure for a model without known
    blocks.
    """
    units = blocks(model)
    if not units:
        raise RecipeFailure(
            "sharding_unavailable",
            f"{type(model).__name__} does not name its transformer blocks, so that it cannot be split.",
            "Queue it again with sharding none.",
            {"sharding": "none"},
        )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options: dict[str, Any] = {"mesh": init_device_mesh(device, (dist.get_world_size(),))}
    if dtype is not None:
        options["mp_policy"] = MixedPrecisionPolicy(dtype, torch.float32, cast_forward_inputs=False)
    for block in units:
        fully_shard(block, **options)
    fully_shard(model, **options)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
            module.set_gradient_divide_factor(1.0)
    setattr(model, _DTYPE, dtype or model.dtype)
    setattr(model, _CALL, lambda function, *arguments: function(model, *arguments))
    register_fsdp_forward_method(model, _CALL)


def blocks(model: Any) -> list[nn.Module]:
    """Return the transformer blocks: what stands in a list, of the classes that the model says are not to be split.

    Those outside of one, embeddings for example, may share their weights with the output layer.
    """
    names = set(getattr(model, "_no_split_modules", None) or ())
    stacks = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return [block for stack in stacks for block in stack if type(block).__name__ in names]


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def dtype_of(model: Any) -> torch.dtype:
    """Return the dtype that a model multiplies in, which split weights that learn are not held in."""
    dtype: torch.dtype = getattr(model, _DTYPE, model.dtype)
    return dtype


def call(function: Callable[..., T], model: Any, *arguments: Any) -> T:
    """Return `function(model, *arguments)`, with the root's weights whole while it runs and in its backward pass."""
    return getattr(model, _CALL)(function, *arguments) if is_sharded(model) else function(model, *arguments)


def reshard_always(model: Any) -> None:
    """Let neither blocks nor root keep gathered weights after a forward: they are old once the shares have learnt."""
    if is_sharded(model):
        model.set_reshard_after_forward(True)


@contextmanager
def whole(model: Any) -> Iterator[None]:
    """Hold all weights on each process: it runs any number of forwards without the others. All begin together.

    For a model of `reshard_always`. It needs the memory of the whole model, in the dtype that it multiplies in.
    """
    units = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for unit in units:
        unit.set_reshard_after_forward(False, recurse=False)
        unit.unshard()
    try:
        yield
    finally:
        for unit in units:
            unit.reshard()
            unit.set_reshard_after_forward(True, recurse=False)


def local(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor: all of one that is not split. The memory is the same."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def gathered(weights: dict[str, Tensor], *, is_first: bool) -> dict[str, Tensor]:
    """Return whole copies of split tensors on the CPU of the first process, and nothing elsewhere. All take part."""
    whole: dict[str, Tensor] = {}
    for name, weight in weights.items():
        tensor = weight.full_tensor() if isinstance(weight, DTensor) else weight
        if is_first:
            whole[name] = tensor.detach().to("cpu", copy=True)
    return whole


@torch.no_grad()
def fill(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Write whole weights into a model that is not split, by their names."""
    parameters = dict(model.named_parameters())
    for name, weight in weights.items():
        parameters[name].copy_(weight)


@dataclass(frozen=True)
class Trained:
    """Hold a whole model that has learnt, and the float32 masters of what it may hold rounded."""

    model: Any
    weights: dict[str, Tensor]


def trained(
    model: Any,
    masters: dict[str, Tensor],
    load: Callable[[], Any],
    *,
    is_first: bool,
    dtype: torch.dtype | None = None,
) -> Trained:
    """Return what has learnt, whole. Where it is split, `load` gives the first process the model as it began, which
    gets the weights that were learnt, rounded to `dtype` where every weight learns; the others get none."""
    if not is_sharded(model):
        return Trained(model, masters)
    weights = gathered(masters, is_first=is_first)
    if not is_first:
        return Trained(None, {})
    whole = load()
    fill(whole, weights)
    if dtype is not None:
        for parameter in whole.parameters():  # and no buffers: rotations stay float32, as they are loaded
            parameter.data = parameter.data.to(dtype)
    return Trained(whole, weights)


@torch.no_grad()
def norm_of(gradients: Iterable[Tensor]) -> Tensor:
    """Return the norm of all gradients together, those split and those that each process holds whole."""
    split: list[Tensor] = []
    whole: list[Tensor] = []
    for gradient in gradients:
        (split if isinstance(gradient, DTensor) else whole).append(local(gradient).float())
    device = (split or whole)[0].device
    squares = torch.stack([part.square().sum(dtype=torch.float64) for part in split] or [torch.zeros(1)[0].double()])
    total = squares.sum().to(device)
    dist.all_reduce(total)
    for part in whole:
        total = total + part.square().sum(dtype=torch.float64).to(device)
    return total.sqrt()


class AgreedDecoder:
    """Decode with a split model: all processes run it, and draw from the first one's logits, whatever rounds."""

    def __init__(self, model: nn.Module) -> None:
        self.decoder = ModuleDecoder(model)

    def prefill(self, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int) -> Tensor:
        return _from_first(self.decoder.prefill(input_ids, attention_mask, max_new_tokens))

    def step(self, tokens: Tensor) -> Tensor:
        return _from_first(self.decoder.step(tokens))

    def select(self, rows: Tensor) -> None:
        self.decoder.select(rows)


def decoder_of(model: nn.Module) -> AgreedDecoder | ModuleDecoder:
    """Return the decoder of samples that are logged while a model learns."""
    return AgreedDecoder(model) if is_sharded(model) else ModuleDecoder(model)


def _from_first(logits: Tensor) -> Tensor:
    logits = logits.contiguous()
    dist.broadcast(logits, 0)
    return logits
