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

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.rl.lora import LoRALinear, factors_beside

QUERIES = 256  # attended at once: keys behind the last of them are not looked at


@dataclass(frozen=True)
class Rows:
    """Say where the sequences lie in N tokens, and the rotations at their places."""

    bounds: tuple[tuple[int, int], ...]
    cos: Tensor  # (N, 1, D)
    sin: Tensor  # (N, 1, D), the first half's sign turned
    added: tuple[Tensor, ...] = ()  # to the scores (n, n) of each sequence; none: all before is seen


@torch.no_grad()
def rows_of(base: Any, lengths: list[int], dtype: torch.dtype) -> Rows:
    device = next(base.parameters()).device
    ends = torch.tensor(lengths).cumsum(0).tolist()
    positions = torch.cat([torch.arange(n) for n in lengths]).to(device)[None]
    cos, sin = base.rotary_emb(torch.empty(0, dtype=dtype, device=device), position_ids=positions)
    half = cos.shape[-1] // 2
    sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
    return Rows(tuple(zip([0, *ends[:-1]], ends, strict=True)), cos[0, :, None], sin[0, :, None])


def run_packed(
    base: Any, hidden: Tensor, rows: Rows, first: int, last: int, recompute: bool = False, wanted: Tensor | None = None
) -> Tensor:
    """Run layers `first` to `last` (exclusive) of a decoder on hidden (N, H), without the final norm.

    `wanted` (M,): of which tokens the result is asked for, (M, H); the last layer computes its keys and values of all,
    and the rest of these alone.
    """
    for index in range(first, last):
        layer = base.layers[index]
        parts = _parts(layer)
        learnt = [p for part in parts for p in part.learnt()]
        norms = layer.input_layernorm.weight, layer.post_attention_layernorm.weight
        asked = wanted if index == last - 1 else None
        hidden = _Layer.apply(hidden, layer, parts, rows, recompute, asked, *norms, *learnt)
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


class _Part:
    """A linear layer with its adapters or without: y = x W' + (x A') B', and its derivatives.

    A (r, in) and B (out, r) are the parent's frozen factors and then those that learn, if there are any.
    """

    def __init__(self, module: Any) -> None:
        plain = getattr(module, "base", module)
        self.weight, self.bias, self.module = plain.weight, plain.bias, module
        self.learns = isinstance(module, LoRALinear) and module.switch.on
        self.low_rank = factors_beside(module)

    def learnt(self) -> list[Tensor]:
        if self.learns:
            return [self.module.lora_a, self.module.lora_b]
        return [p for p in (self.weight, self.bias) if p is not None and p.requires_grad]

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)
        if self.low_rank is not None:
            y.addmm_(x @ self.low_rank.a.T, self.low_rank.b.T)
        return y

    def backward(self, x: Tensor, slope: Tensor, into: Tensor | None = None) -> tuple[Tensor, list[Tensor]]:
        """Return d/dx, added to `into` where one is given, and the derivatives by what `learnt` names."""
        towards_x = slope @ self.weight if into is None else into.addmm_(slope, self.weight)
        towards_down = self._towards_down(slope)
        if self.low_rank is not None and towards_down is not None:
            towards_x.addmm_(towards_down, self.low_rank.a)
        return towards_x, self._of_learnt(x, slope, towards_down)

    def backward_last(self, x: Tensor, slope: Tensor) -> list[Tensor]:
        """Return the derivatives by what `learnt` names alone: nothing learns below."""
        return self._of_learnt(x, slope, self._towards_down(slope))

    def _towards_down(self, slope: Tensor) -> Tensor | None:
        return None if self.low_rank is None else slope @ self.low_rank.b

    def _of_learnt(self, x: Tensor, slope: Tensor, towards_down: Tensor | None) -> list[Tensor]:
        if self.low_rank is None or towards_down is None:
            return [slope.T @ x if p is self.weight else slope.sum(0) for p in self.learnt()]
        if not self.learns:
            return []
        rank = self.module.lora_a.shape[0]  # the last ones
        down = x @ self.low_rank.a[-rank:].T
        towards_b = (slope.T @ down).float().mul_(self.module.scaling)
        return [(towards_down[:, -rank:].T @ x).float(), towards_b]


def _parts(layer: Any) -> list[_Part]:
    attention, mlp = layer.self_attn, layer.mlp
    modules = (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj)
    return [_Part(module) for module in (*modules, mlp.gate_proj, mlp.up_proj, mlp.down_proj)]


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: Any, parts: list[_Part], rows: Rows, recompute: bool, wanted: Tensor | None,
        *learnt: Tensor,
    ) -> Tensor:  # fmt: skip
        y, saved = _run(x, layer, parts, rows, wanted)
        ctx.layer, ctx.parts, ctx.rows, ctx.recompute, ctx.wanted = layer, parts, rows, recompute, wanted
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(x, *(() if recompute else saved))
        return y

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        layer, rows, wanted = ctx.layer, ctx.rows, ctx.wanted
        if ctx.recompute:
            saved = list(_run(x, layer, ctx.parts, rows, wanted)[1])
        to_q, to_k, to_v, to_o, to_gate, to_up, to_down = ctx.parts
        query, key, value, mixed, middle, gate, up, *weights = saved

        silu = F.silu(gate)
        inner, of_down = to_down.backward(silu * up, slope)
        towards_up = silu.mul_(inner)
        towards_gate = torch.ops.aten.silu_backward(inner.mul_(up), gate)
        normed, scale = _norm(middle, layer.post_attention_layernorm)
        towards, of_gate = to_gate.backward(normed, towards_gate)
        towards, of_up = to_up.backward(normed, towards_up, towards)
        towards, of_post = _norm_backward(middle, scale, layer.post_attention_layernorm, towards)
        slope = towards.add_(slope)

        towards, of_o = to_o.backward(mixed, slope)
        if wanted is not None:
            towards = towards.new_zeros(len(x), towards.shape[1]).index_copy_(0, wanted, towards)
        towards_q, towards_k, towards_v = _attend_backward(query, key, value, weights, towards, rows, layer)
        normed, scale = _norm(x, layer.input_layernorm)
        below: Tensor | None = None
        of_input: Tensor | None = None
        if ctx.needs_input_grad[0] or layer.input_layernorm.weight.requires_grad:
            towards, of_q = to_q.backward(normed, towards_q)
            towards, of_k = to_k.backward(normed, towards_k, towards)
            towards, of_v = to_v.backward(normed, towards_v, towards)
            towards, of_input = _norm_backward(x, scale, layer.input_layernorm, towards)
            below = towards.add_(slope) if wanted is None else towards.index_add_(0, wanted, slope)
        else:
            pairs = (to_q, towards_q), (to_k, towards_k), (to_v, towards_v)
            of_q, of_k, of_v = (part.backward_last(normed, of_part) for part, of_part in pairs)
        of_learnt = (*of_q, *of_k, *of_v, *of_o, *of_gate, *of_up, *of_down)
        return below, None, None, None, None, None, of_input, of_post, *of_learnt


def _run(
    x: Tensor, layer: Any, parts: list[_Part], rows: Rows, wanted: Tensor | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the layer's output, of the tokens that are wanted, and what its backward pass needs."""
    to_q, to_k, to_v, to_o, to_gate, to_up, to_down = parts
    head = layer.self_attn.head_dim
    normed, _ = _norm(x, layer.input_layernorm)
    query, key, value = (part.forward(normed).view(len(x), -1, head) for part in (to_q, to_k, to_v))
    query, key = _rotate(query, rows.cos, rows.sin), _rotate(key, rows.cos, rows.sin)
    mixed, weights = _attend(query, key, value, rows, layer.self_attn.scaling)
    if wanted is not None:
        x, mixed = x[wanted], mixed[wanted]
    middle = to_o.forward(mixed).add_(x)
    normed, _ = _norm(middle, layer.post_attention_layernorm)
    gate, up = to_gate.forward(normed), to_up.forward(normed)
    y = to_down.forward(layer.mlp.act_fn(gate).mul_(up)).add_(middle)
    return y, (query, key, value, mixed, middle, gate, up, *weights)


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
    """Return x (N, heads, D) turned to its places; with -sin it is turned back."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def _pieces(rows: Rows) -> list[tuple[int, int, int]]:
    """Return (first key, first query, end) of every block of queries: its keys lie between the first and its end."""
    return [(start, at, min(at + QUERIES, end)) for start, end in rows.bounds for at in range(start, end, QUERIES)]


def _unseen(rows: Rows, query: Tensor) -> Iterator[Tensor]:
    """Yield (n, keys) for each block: minus infinity where a query may not look."""
    added = dict(zip((start for start, _ in rows.bounds), rows.added, strict=bool(rows.added)))
    for start, at, end in _pieces(rows):
        if rows.added:
            yield added[start][at - start : end - start, : end - start]
        else:
            n, visible = end - at, end - start
            future = torch.full((n, visible), float("-inf"), dtype=query.dtype, device=query.device)
            yield future.triu_(visible - n + 1)


def _stacked(query: Tensor, K: int) -> Tensor:
    """Return (n, Q, D) -> (K, Q/K n, D): the query heads of one key head as so many positions."""
    n, Q, D = query.shape
    return query.view(n, K, Q // K, D).permute(1, 2, 0, 3).reshape(K, Q // K * n, D)


def _unstacked(stacked: Tensor, n: int) -> Tensor:
    """Return (K, Q/K n, D) -> (n, Q D)."""
    K, G, D = stacked.shape[0], stacked.shape[1] // n, stacked.shape[2]
    return stacked.view(K, G, n, D).permute(2, 0, 1, 3).reshape(n, K * G * D)


def _attend(query: Tensor, key: Tensor, value: Tensor, rows: Rows, scaling: float) -> tuple[Tensor, list[Tensor]]:
    """Return query (N, Q, D), key and value (N, K, D) -> (N, Q D), and each block's weights (K, Q/K n, keys)."""
    K = key.shape[1]
    mixed, weights = query.new_empty(len(query), query.shape[1] * query.shape[2]), []
    for (start, at, end), unseen in zip(_pieces(rows), _unseen(rows, query), strict=True):
        n, visible = end - at, end - start
        keys = key[start:end].transpose(0, 1)
        scores = torch.bmm(_stacked(query[at:end], K), keys.transpose(1, 2)).view(-1, n, visible)
        chances = torch.add(unseen, scores, alpha=scaling).softmax(-1).view(K, -1, visible)
        mixed[at:end] = _unstacked(torch.bmm(chances, value[start:end].transpose(0, 1)), n)
        weights.append(chances)
    return mixed, weights


def _attend_backward(
    query: Tensor, key: Tensor, value: Tensor, weights: list[Tensor], slope: Tensor, rows: Rows, layer: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return slope (N, Q D) -> towards the unrotated query (N, Q D), key and value (N, K D)."""
    N, K, D = key.shape
    towards_q = torch.empty_like(query)
    # Keys of a long sequence are seen by several blocks: their sums in float32.
    towards_k, towards_v = (torch.zeros(N, K, D, device=key.device) for _ in "kv")
    for (start, at, end), chances in zip(_pieces(rows), weights, strict=True):
        n = end - at
        piece = _stacked(slope[at:end].view(n, -1, D), K)
        towards_v[start:end] += torch.bmm(chances.transpose(1, 2), piece).transpose(0, 1)
        towards_weights = torch.bmm(piece, value[start:end].permute(1, 2, 0))
        scores = torch.ops.aten._softmax_backward_data(towards_weights, chances, -1, chances.dtype)
        scores.mul_(layer.self_attn.scaling)
        towards_q[at:end] = _unstacked(torch.bmm(scores, key[start:end].transpose(0, 1)), n).view(n, -1, D)
        towards_k[start:end] += torch.bmm(scores.transpose(1, 2), _stacked(query[at:end], K)).transpose(0, 1)
    back = -rows.sin
    return (
        _rotate(towards_q, rows.cos, back).view(N, -1),
        _rotate(towards_k.to(key.dtype), rows.cos, back).view(N, -1),
        towards_v.to(key.dtype).view(N, -1),
    )
