"""Run decoder layers over several sequences laid end to end, without padding and without attention across, for
processors.

One autograd function a layer, forward and backward by hand: a matrix product costs what the machine's rate says, and
what lies between the products (norms, rotations, softmax, SiLU) is done in as few passes over memory as there are. What
backward needs is kept, 12 kB a token for a layer of 576; what it can make again at once (norms, SiLU) is not. With
`recompute` the layer's input alone is kept and the layer runs a second time.

Weights may be frozen, frozen with LoRA adapters (a parent's frozen ones below those that learn), or learn themselves.
Layers laid out like Llama's (Llama, SmolLM, Mistral without its window, Qwen2); `packed_agrees` compares with the
model's own before any is trusted.

Shapes: N tokens of all sequences together, H hidden, I inner, Q and K query and key heads, D head, r rank.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.rl.packed.packed_attention import attend, attend_backward
from training.rl.packed.packed_linear import LinearGroup
from training.rl.packed.packed_rows import Rows, rows_of


def run_packed(
    base: Any, hidden: Tensor, rows: Rows, first: int, last: int, recompute: bool = False, wanted: Tensor | None = None
) -> Tensor:
    """Run layers `first` to `last` (exclusive) of a decoder on hidden (N, H), without the final norm.

    `wanted` (M,): of which tokens the result is asked for, once or several times, (M, H); the last layer computes its
    keys and values of all, and the rest of these alone.
    """
    for index in range(first, last):
        layer = base.layers[index]
        groups = _groups(layer)
        learnt = [p for group in groups for p in group.learnt()]
        norms = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        asked = wanted if index == last - 1 else None
        hidden = _Layer.apply(hidden, layer, groups, rows, recompute, asked, *norms, *learnt)
    return hidden


def attends_to_all(config: Any) -> bool:
    """Return whether every layer looks at all that came before. A window is not seen in the few tokens of a
    comparison."""
    kinds = getattr(config, "layer_types", None) or []
    return not getattr(config, "sliding_window", None) and all(kind == "full_attention" for kind in kinds)


def _is_silu(activation: Any) -> bool:
    """Return whether the activation is SiLU. Backward is written out for this one alone: with another, outputs would
    agree and gradients be wrong."""
    x = torch.linspace(-4, 4, 9)
    return torch.allclose(activation(x), F.silu(x))


@torch.no_grad()
def packed_agrees(model: Any) -> bool:
    """Return whether two sequences of different length get the last hidden states that the model itself gives each."""
    try:
        base, config = model.get_decoder(), model.config
        if not attends_to_all(config) or len(base.layers) != config.num_hidden_layers:
            return False
        if not all(_is_silu(layer.mlp.act_fn) for layer in base.layers):
            return False
        weight = model.get_input_embeddings().weight
        ids = torch.arange(9, device=weight.device).mul(31).remainder(weight.shape[0])
        expected = [base(input_ids=part[None], use_cache=False).last_hidden_state[0] for part in (ids[:4], ids[4:])]
        rows = rows_of(base, [4, 5], weight.dtype)
        parts = base.norm(run_packed(base, base.embed_tokens(ids), rows, 0, len(base.layers)))
    except (AttributeError, TypeError, RuntimeError):
        return False
    difference = (torch.cat(expected) - parts).float().abs().mean() / torch.cat(expected).float().abs().mean()
    return bool(difference < (1e-3 if weight.dtype == torch.float32 else 0.1))  # rounding: see `rl.trunk`


def _groups(layer: Any) -> tuple[LinearGroup, ...]:
    """Return the layer's linear layers by what they read."""
    attention, mlp = layer.self_attn, layer.mlp
    return (
        LinearGroup(attention.q_proj, attention.k_proj, attention.v_proj),
        LinearGroup(attention.o_proj),
        LinearGroup(mlp.gate_proj, mlp.up_proj),
        LinearGroup(mlp.down_proj),
    )


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: Any, groups: tuple[LinearGroup, ...], rows: Rows, recompute: bool,
        wanted: Tensor | None, *learnt: Tensor,
    ) -> Tensor:  # fmt: skip
        middle, gate, up, *rest = _until_gates(x, layer, groups, rows, wanted)
        (y,), down = groups[3].forward(F.silu(gate).mul_(up))
        y.add_(middle)
        ctx.layer, ctx.groups, ctx.rows, ctx.recompute, ctx.wanted = layer, groups, rows, recompute, wanted
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, *(() if recompute else (down, middle, gate, up, *rest)))
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        layer, rows, wanted = ctx.layer, ctx.rows, ctx.wanted
        to_qkv, to_o, to_gates, to_down = ctx.groups
        down, middle, gate, up, mixed, of_qkv, of_o, of_gates, *of_attention = (
            (None, *_until_gates(x, layer, ctx.groups, rows, wanted)) if ctx.recompute else saved
        )

        silu = F.silu(gate)
        inner = silu * up
        towards, of_down = to_down.backward(inner, to_down.down(inner) if ctx.recompute else down, [slope])
        towards_up = silu.mul_(towards)
        towards_gate = torch.ops.aten.silu_backward(towards.mul_(up), gate)
        normed, scale = _norm(middle, layer.post_attention_layernorm)
        towards, learnt_gates = to_gates.backward(normed, of_gates, [towards_gate, towards_up])
        towards, of_post = _norm_backward(middle, scale, layer.post_attention_layernorm, towards)
        slope = towards.add_(slope)

        towards, learnt_o = to_o.backward(mixed, of_o, [slope])
        if wanted is not None:
            towards = towards.new_zeros(len(x), towards.shape[1]).index_add_(0, wanted, towards)
        towards_q, towards_k, towards_v = attend_backward(towards, of_attention, rows, layer.self_attn.scaling)
        towards_q, towards_k = (_rotate(part, rows.cos, -rows.sin) for part in (towards_q, towards_k))
        normed, scale = _norm(x, layer.input_layernorm)
        is_lowest = not (ctx.needs_input_grad[0] or layer.input_layernorm.weight.requires_grad)
        slopes = [towards_q, towards_k, towards_v]
        below, learnt_qkv = to_qkv.backward(normed, of_qkv, slopes, is_lowest=is_lowest)
        of_input: Tensor | None = None
        if below is not None:
            below, of_input = _norm_backward(x, scale, layer.input_layernorm, below)
            below = below.add_(slope) if wanted is None else below.index_add_(0, wanted, slope)
        of_learnt = (*learnt_qkv, *learnt_o, *learnt_gates, *of_down)
        return below, None, None, None, None, None, of_input, of_post, *of_learnt


def _until_gates(
    x: Tensor, layer: Any, groups: tuple[LinearGroup, ...], rows: Rows, wanted: Tensor | None
) -> tuple[Any, ...]:
    """Return what the layer's backward pass needs, of the tokens that are wanted: states before its feed-forward, gate
    and up, and what made them."""
    to_qkv, to_o, to_gates, _ = groups
    normed, _ = _norm(x, layer.input_layernorm)
    (query, key, value), of_qkv = to_qkv.forward(normed)
    query, key = (_rotate(part, rows.cos, rows.sin) for part in (query, key))
    mixed, of_attention = attend(query, key, value, rows, layer.self_attn.scaling)
    if wanted is not None:
        x, mixed = x[wanted], mixed[wanted]
    (middle,), of_o = to_o.forward(mixed)
    normed, _ = _norm(middle.add_(x), layer.post_attention_layernorm)
    (gate, up), of_gates = to_gates.forward(normed)
    return middle, gate, up, mixed, of_qkv, of_o, of_gates, *of_attention


def _norm(x: Tensor, norm: Any) -> tuple[Tensor, Tensor]:
    """Return RMSNorm as Llama rounds it, (N, H), and 1 / root mean square, (N, 1) float32."""
    wide = x.float()
    scale = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(norm.variance_epsilon).rsqrt_()[:, None]
    if wide is x:
        return x * scale * norm.weight, scale
    return wide.mul_(scale).to(x.dtype).mul_(norm.weight), scale


def _norm_backward(x: Tensor, scale: Tensor, norm: Any, slope: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return d/dx, and d/dweight where it learns."""
    wide, towards = x.float() * scale, (slope * norm.weight).float()
    of_weight = (wide * slope).sum(0).to(norm.weight.dtype) if norm.weight.requires_grad else None
    along = torch.linalg.vecdot(wide, towards).div_(x.shape[-1])[:, None]
    return towards.sub_(wide.mul_(along)).mul_(scale).to(x.dtype), of_weight


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x (N, heads D) turned to its places; with -sin it is turned back."""
    heads = x.view(len(x), -1, cos.shape[-1])
    return torch.addcmul(heads * cos, heads.roll(cos.shape[-1] // 2, -1), sin).view_as(x)
