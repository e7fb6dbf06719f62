"""Estimate how much memory and time a training run takes, before it begins; and how many rows to compute at once.

Counted, not guessed: weights, gradients and AdamW's two moments by their dtypes, activations by what a block keeps for
its backward pass, products by the rate that steps of such a width were measured to reach here (`machine`). Knows no
torch: forms show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.configs.presets import Preset, block_parameters, parameters
from training.core.batch_planner import loss_logits

PROCESS = 0.6e9  # an interpreter with torch and transformers loaded
ROOM = 0.8  # of the memory that is free: the rest is for what cannot be counted
BEST_TOKENS = {
    "cpu": 4096,
    "mps": 16384,
    "cuda": 65536,
}  # at once; more is no faster, and falls out of a processor's cache


@dataclass(frozen=True)
class Shape:
    """Hold what memory and time depend on. `trained` of the `parameters` learn; `multiplied` take part in products."""

    parameters: int
    trained: int
    multiplied: int
    width: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int


@dataclass(frozen=True)
class Plan:
    """Rows computed at once, whether activations are computed twice, and the memory that takes."""

    rows: int
    checkpointing: bool
    bytes: float


class DoesNotFit(Exception):
    """Raised when a run does not fit into memory. `needed` and `available` in bytes."""

    def __init__(self, needed: float, available: float) -> None:
        super().__init__(f"needs {needed / 1e9:.3g} GB, but only {available / 1e9:.3g} GB are free")
        self.needed, self.available = needed, available


def shape_of(preset: Preset, vocabulary: int, objective: str) -> Shape:
    total = parameters(preset, vocabulary, objective)
    return Shape(
        parameters=total,
        trained=total,
        multiplied=block_parameters(preset, objective) + vocabulary * preset.width,
        width=preset.width,
        layers=preset.layers,
        heads=preset.heads,
        feed_forward=preset.feed_forward,
        vocabulary=vocabulary,
    )


def shape_of_config(config: Any, *, parameters: int, trained: int) -> Shape:
    """Return the shape of a decoder that exists already, from its transformers config."""
    return Shape(
        parameters=parameters,
        trained=trained,
        multiplied=parameters,  # a tied embedding is the output layer's product
        width=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=config.num_attention_heads,
        feed_forward=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
    )


def state_bytes(shape: Shape, *, is_bfloat16: bool) -> float:
    """Return the bytes of weights, gradients and moments: 4 + 8 bytes of masters and moments, and the model's own copy
    and gradient."""
    if is_bfloat16:
        return 2 * shape.parameters + (4 + 4 + 8 + 2) * shape.trained
    return 4 * shape.parameters + (4 + 8) * shape.trained


def activation_bytes(
    shape: Shape, length: int, rows: int, *, is_bfloat16: bool, checkpointing: bool, keeps_scores: bool = True
) -> float:
    """Return what stands between forward and backward, and one block's temporaries.

    A block keeps, per token: eight vectors of its width in the model's dtype (inputs, q, k, v, what attention mixed)
    and two and a half in float32 (the norms'); gate, up and both after the activation; and T x T weights a head,
    unless a kernel computes attention that `keeps_scores` nowhere, as on a GPU.
    """
    size = 2 if is_bfloat16 else 4
    block = length * token_bytes(shape.width, shape.feed_forward, size)
    block += shape.heads * size * length**2 * keeps_scores
    ends = 4 * shape.width * size * length
    if checkpointing:
        return rows * (shape.layers * shape.width * size * length + 2 * block + ends)
    return rows * ((shape.layers + 1) * block + ends)


def token_bytes(width: int, feed_forward: int, size: int) -> float:
    """Return what a block of such sizes keeps of one token, without weights of attention; `size` of a number."""
    return width * (8 * size + 10) + 4 * feed_forward * size


def loss_buffers(device: str) -> float:
    """Return what the loss takes: of each logit that it makes at once, and of its rows' states."""
    return 12 * loss_logits(device) + 3e7


def shared_state_bytes(shape: Shape, shares: int, *, is_bfloat16: bool) -> float:
    """Return the bytes of one of `shares` processes over which a model is split: float32 masters, gradients and moments
    by shares; two blocks and the output layer, with its gradient, are gathered to compute with."""
    if shares == 1:
        return state_bytes(shape, is_bfloat16=is_bfloat16)
    size, output = 2 if is_bfloat16 else 4, shape.vocabulary * shape.width
    block = max(shape.parameters - output, 0) / max(shape.layers, 1)
    held = size * (shape.parameters - shape.trained) + (4 + 4 + 8) * shape.trained
    return held / shares + (2 * block + 2 * output) * size


def memory(
    shape: Shape,
    length: int,
    rows: int,
    *,
    is_bfloat16: bool,
    checkpointing: bool,
    device: str = "cpu",
    shares: int = 1,
) -> float:
    """Return the bytes at the peak of a step, of one of `shares` processes over which the model is split."""
    activations = activation_bytes(
        shape, length, rows, is_bfloat16=is_bfloat16, checkpointing=checkpointing, keeps_scores=device == "cpu"
    )
    state = shared_state_bytes(shape, shares, is_bfloat16=is_bfloat16)
    return PROCESS + loss_buffers(device) + 4 * shape.vocabulary * shape.width + state + activations


def plan(
    shape: Shape,
    *,
    length: int,
    batch: int,
    available: float,
    is_bfloat16: bool,
    device: str = "cpu",
    rows: int | None = None,
    checkpointing: bool | None = None,
    shares: int = 1,
) -> Plan:
    """Return the largest even share of `batch` rows that fits, with activations computed twice only if it must be.

    `rows` and `checkpointing` are taken as they are where somebody chose them. Raises DoesNotFit.
    """
    most_rows = min(batch, max(BEST_TOKENS[device] // length, 1))
    choices = [rows] if rows else sorted({-(-most_rows // n) for n in range(1, most_rows + 1)}, reverse=True)
    checkpointing_choices = [checkpointing] if checkpointing is not None else [False, True]
    for twice in checkpointing_choices:
        for count in choices:
            n_bytes = memory(
                shape, length, count, is_bfloat16=is_bfloat16, checkpointing=twice, device=device, shares=shares
            )
            if n_bytes <= ROOM * available:
                return Plan(count, twice, n_bytes)
    raise DoesNotFit(n_bytes, available)


def flops_per_token(shape: Shape, length: int, *, checkpointing: bool = False) -> float:
    """Return the operations forward and backward: six for each weight that is multiplied, twelve for each pair of
    places and channel.

    Where the rows are `length` long, all T x T scores are computed, those behind a mask too.
    """
    forward = 2 * shape.multiplied + 4 * shape.layers * shape.width * length
    return forward * (4 if checkpointing else 3)


def reached(width: int, measured: Sequence[tuple[int, float]]) -> float:
    """Return the share of the matrix rate that steps of this width reach, between those that were measured.

    measured: (width, share), by width.
    """
    below = [pair for pair in measured if pair[0] <= width] or measured[:1]
    above = [pair for pair in measured if pair[0] >= width] or measured[-1:]
    (w0, s0), (w1, s1) = below[-1], above[0]
    return s0 if w0 == w1 else s0 + (s1 - s0) * (width - w0) / (w1 - w0)


def seconds(shape: Shape, length: int, tokens: float, *, rate: float, checkpointing: bool = False) -> float:
    """Return the seconds at `rate` floating-point operations a second, as steps of this width reach them."""
    return tokens * flops_per_token(shape, length, checkpointing=checkpointing) / rate
