"""Decode with a key-value cache that is written in place, without what `generate` spends its time on.

`LlamaDecoder` runs any model built like Llama (Llama, SmolLM, Mistral without its window, Qwen2, Qwen3): weights laid
out once, projections fused, heads grouped instead of repeated, a cache written in place, some 17 operations a layer,
and on a GPU a step as one graph. A row that has ended gives its place to another prompt (`admit`), and what all prompts
begin with is read once. Measured against `generate` in benchmarks/sampling.py. Every other causal LM runs through its
own forward (`ModuleDecoder`). `decoder_for` compares the first with the model itself before it is trusted.

Shapes: B rows, P prompt tokens (left-padded), N tokens laid end to end, W columns, H hidden, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.core.batch_planner import prompts_at_once
from training.rl.kept_states import KeptStates, places_of
from training.rl.linear import Layer, Linear, read_layer
from training.rl.module_decoder import ModuleDecoder
from training.rl.packed.packed_attention import attend_masked, is_fused_faster
from training.rl.packed.packed_layers import attends_to_all
from training.rl.step_graph import StepGraph

AHEAD = 64  # columns that a cache gets beyond those that are needed, when it grows

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shared:
    """What all prompts begin with: its tokens, and each layer's keys and values (1, K, n, D)."""

    tokens: tuple[int, ...]
    keys: list[Tensor]
    values: list[Tensor]


class LlamaDecoder:
    """Decode with a Llama model. Weights are read and laid out at construction; `refresh` reads again what has learnt
    since.

    The cache is a ring of `room` columns, the same one for all rows at each step. Which columns a row may look at
    stands in `bias`; their order says nothing, since rotations are by position. A row takes no more columns than there
    are, so that none that it still needs is written over. It grows to that as it is filled, since batched products go
    over all of it: a part of it would be copied first, layer by layer. Where steps are graphs it has all at once.
    """

    def __init__(self, model: nn.Module, exact: bool = False, exact_below: int = 0) -> None:
        """`exact` and `exact_below`: as `decoder_for`."""
        base = model.get_decoder()
        attention = base.layers[0].self_attn
        self.model, self.base = model, base
        self.head_dim: int = attention.head_dim
        self.eps: float = model.config.rms_norm_eps
        self.query_heads: int = model.config.num_attention_heads
        self.kv_heads: int = model.config.num_key_value_heads
        self.layers = [read_layer(layer, exact or i < exact_below) for i, layer in enumerate(self.base.layers)]
        self.output = Linear(model.get_output_embeddings(), exact=exact)
        weight = self.layers[0].input_norm
        self.fused = is_fused_faster(weight)
        static = getattr(base.rotary_emb, "rope_type", "default") not in ("dynamic", "longrope")  # no look at positions
        self.graph = StepGraph() if static and weight.device.type == "cuda" else None

    def refresh(self, first_layer: int) -> None:
        """Read what learns in `first_layer` and above again: adapters, or weights. What is frozen stays as it is."""
        self._forget_graph()
        for layer in self.layers[first_layer:]:
            for linear in layer.linears:
                linear.refresh()
        self.output.refresh()

    def rounds_below(self, layer: int) -> bool:
        """Return whether a weight below this layer lost digits when it was laid out: hidden states are not the model's
        then, within what sums lose."""
        return any(linear.rounds for below in self.layers[:layer] for linear in below.linears)

    def prefill(self, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int) -> Tensor:
        prompts = [ids[kept.bool()].tolist() for ids, kept in zip(input_ids, attention_mask, strict=True)]
        rows = torch.arange(len(prompts), device=input_ids.device)
        self.open(len(prompts), input_ids.shape[1] + max_new_tokens)
        return self.admit(rows, prompts, rows)

    @torch.no_grad()
    def open(self, count: int, room: int, shared: Sequence[int] = (), kept: KeptStates | None = None) -> None:
        """Make place for so many rows of at most `room` tokens each, prompts and answers together; all prompts begin
        with `shared`. Hidden states that `kept` asks for are written there as they are computed."""
        self._forget_graph()
        weight = self.layers[0].input_norm
        self.column, self.filled, self.room = 0, 0, room
        self.bias = weight.new_empty(count, 0)  # 0 where a row may look, -inf elsewhere
        self.keys = [weight.new_empty(count * self.kv_heads, 0, self.head_dim)] * len(self.layers)
        self.values = list(self.keys)
        if self.graph is not None:
            self._grow(room)
        self.next_position = torch.zeros(count, dtype=torch.long, device=weight.device)
        self.shared: _Shared | None = None
        self.kept, self.sequences = kept, torch.zeros_like(self.next_position)
        if shared:
            keys: list[Tensor] = []
            values: list[Tensor] = []
            for i, (hidden, key, value) in enumerate(self._read([list(shared)])):
                keys.append(key)
                values.append(value)
                if kept is not None:
                    kept.write_shared(i + 1, hidden)
            self.shared = _Shared(tuple(shared), keys, values)

    def close(self) -> None:
        """Give the cache's memory back; `open` makes another."""
        self._forget_graph()
        self.keys, self.values, self.shared, self.kept = [], [], None, None

    @torch.no_grad()
    def admit(
        self, rows: Tensor, prompts: Sequence[Sequence[int]], which: Tensor, sequences: Tensor | None = None
    ) -> Tensor:
        """Give these rows (n,) to new answers, the i-th to `prompts[which[i]]`. Return logits of the next token
        (n, V). `sequences` (n,): by what numbers their states are kept."""
        if sequences is not None:
            self.sequences[rows] = sequences
        logits, last = None, max(len(prompt) for prompt in prompts)
        if not self.filled:
            self.column = self.filled = last
        if self.column < last:  # around the ring's end
            self.filled = self.room
        self._grow(self.filled)
        for first, end in prompts_at_once([len(prompt) for prompt in prompts]):
            chosen = ((which >= first) & (which < end)).nonzero()[:, 0]
            found = self._place(rows[chosen], [list(p) for p in prompts[first:end]], which[chosen] - first)
            logits = found.new_empty(len(rows), found.shape[1]) if logits is None else logits
            logits[chosen] = found
        assert logits is not None
        return logits

    def _place(self, rows: Tensor, prompts: list[list[int]], which: Tensor) -> Tensor:
        K, D, count = self.kv_heads, self.head_dim, len(self.bias)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=rows.device)
        width = int(lengths.max())
        columns = torch.arange(self.column - width, self.column, device=rows.device).remainder(self.room)
        start = len(self.shared.tokens) if self.shared else 0
        ends = (lengths - start).cumsum(0)
        places = places_of(ends, lengths - start, which) if self.kept is not None else None
        last = None
        for i, (hidden, key, value) in enumerate(self._read(prompts)):
            last = hidden
            if self.kept is not None and places is not None and i + 1 in self.kept.layers:
                row, token, step = places
                self.kept.write(i + 1, self.sequences[rows][row], start + step, hidden[token])
            if (prefix := self.shared) is not None:
                key, value = (
                    torch.cat([of_prefix[i].expand(len(prompts), -1, -1, -1), own], 2)
                    for of_prefix, own in ((prefix.keys, key), (prefix.values, value))
                )
            at = rows[:, None], columns
            for cache, new in ((self.keys[i], key), (self.values[i], value)):
                cache.view(count, K, -1, D).transpose(1, 2)[at] = new[which].transpose(1, 2)
        assert last is not None
        seen = torch.arange(width, device=rows.device) >= width - lengths[which][:, None] + start
        seen[:, :start] = True  # the shared ones stand first, then padding, then a prompt's own
        bias = self.bias.new_full((len(rows), self.bias.shape[1]), float("-inf"))
        bias[:, columns] = torch.where(seen, 0.0, float("-inf")).to(bias.dtype)
        self.bias[rows] = bias
        self.next_position[rows] = lengths[which]
        return self._logits(last[ends - 1][which])

    def _read(self, prompts: list[list[int]]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield, layer by layer, the hidden states (N, H) of the prompts' own tokens laid end to end, and their keys
        and values (U, K, P, D), flush right."""
        start = len(self.shared.tokens) if self.shared else 0
        own = [prompt[start:] for prompt in prompts]
        U, P, D = len(own), max(map(len, own)), self.head_dim
        device = self.bias.device
        inside = torch.arange(P) >= P - torch.tensor([len(tokens) for tokens in own])[:, None]
        positions = torch.cat([torch.arange(start, start + len(tokens)) for tokens in own]).to(device)
        places = inside.flatten().nonzero()[:, 0].to(device)  # of the tokens, in (U * P)
        hidden = self.base.embed_tokens(torch.tensor([t for tokens in own for t in tokens], device=device))
        # Padding looks at itself, else its softmax has nothing to sum and is NaN.
        allowed = torch.ones(P, P, dtype=torch.bool).tril() & inside[:, None] | torch.eye(P, dtype=torch.bool)
        allowed = F.pad(allowed, (start, 0), value=True)[:, None].to(device)  # (U, 1, P, start + P)
        cos, sin = self._rotations(positions)

        def padded(x: Tensor) -> Tensor:
            """Return (N, heads, D) -> (U, heads, P, D)."""
            whole = x if len(places) == U * P else x.new_zeros(U * P, *x.shape[1:]).index_copy_(0, places, x)
            return whole.view(U, P, -1, D).transpose(1, 2)

        for i, layer in enumerate(self.layers):
            q, k, v = self._heads(hidden, layer, cos, sin)
            q, k, v = padded(q), padded(k), padded(v)
            keys, values = k, v
            if self.shared is not None:
                keys = torch.cat([self.shared.keys[i].expand(U, -1, -1, -1), k], 2)
                values = torch.cat([self.shared.values[i].expand(U, -1, -1, -1), v], 2)
            mixed = attend_masked(q, keys, values, allowed)
            mixed = mixed.transpose(1, 2).reshape(U * P, -1)
            hidden = self._after(hidden, mixed if len(places) == U * P else mixed[places], layer)
            yield hidden, k, v

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        column = self._next_column()
        return self._whole_step(tokens, column) if self.graph is None else self.graph(self._whole_step, tokens, column)

    def _whole_step(self, tokens: Tensor, column: Tensor | int) -> Tensor:
        return self._logits(self._advance(tokens, column, len(self.layers)))

    @torch.no_grad()
    def read_last(self, tokens: Tensor) -> None:
        """Read the last tokens (B,) of answers, for the states that are kept: no layer above these is run."""
        if self.kept is not None:
            self._advance(tokens, self._next_column(), max(self.kept.layers))

    def _next_column(self) -> int:
        """Return the column of the cache that the next token takes."""
        at, self.column = self.column % self.room, self.column + 1
        self.filled = min(max(self.filled, self.column), self.room)
        self._grow(self.filled)
        return at

    def _grow(self, columns: int) -> None:
        """Let the cache have so many columns; where it must grow for that, some more."""
        if columns > (have := self.bias.shape[1]):
            more = min(columns + AHEAD, self.room) - have
            self.bias = F.pad(self.bias, (0, more), value=float("-inf"))
            for caches in (self.keys, self.values):
                for i, cache in enumerate(caches):
                    caches[i] = torch.cat([cache, cache.new_zeros(len(cache), more, self.head_dim)], 1)

    def _advance(self, tokens: Tensor, column: Tensor | int, depth: int) -> Tensor:
        """Return what leaves layer `depth` for tokens (B,), each the next one of its row: (B, H).

        With the column as an array (1,) all that differs from one step to the next stands in arrays, which stay where
        they are, as a graph has it.
        """
        B, Q, K, D = len(tokens), self.query_heads, self.kv_heads, self.head_dim
        if isinstance(column, int):
            self.bias[:, column] = 0.0
        else:
            self.bias.index_fill_(1, column, 0.0)
        end = self.filled if self.fused else self.bias.shape[1]
        allowed = self.bias[:, None, None, :end]
        if not self.fused:
            allowed = allowed.expand(B, K, 1, end).flatten(0, 1)
        hidden = self.base.embed_tokens(tokens)
        cos, sin = self._rotations(self.next_position)
        for i, (layer, keys, values) in enumerate(zip(self.layers[:depth], self.keys, self.values, strict=False)):
            q, k, v = self._heads(hidden, layer, cos, sin)
            _write(keys.view(B, K, -1, D), column, k)
            _write(values.view(B, K, -1, D), column, v)
            if self.fused:
                keys, values = keys[:, :end].unflatten(0, (B, K)), values[:, :end].unflatten(0, (B, K))
                mixed = attend_masked(q[:, :, None], keys, values, allowed)
            else:  # the query heads of one key head stand as so many positions: nothing is repeated
                scores = torch.baddbmm(allowed, q.reshape(B * K, Q // K, D), keys.transpose(1, 2), alpha=D**-0.5)
                mixed = torch.bmm(scores.softmax(-1), values)
            hidden = self._after(hidden, mixed.view(B, Q * D), layer)
            if self.kept is not None:
                self.kept.write(i + 1, self.sequences, self.next_position, hidden)
        self.next_position += 1
        return hidden

    def _forget_graph(self) -> None:
        if self.graph is not None:
            self.graph.forget()

    def select(self, rows: Tensor) -> None:
        self._forget_graph()
        heads = torch.arange(self.kv_heads, device=rows.device)
        indices = (rows[:, None] * self.kv_heads + heads).flatten()
        for caches in (self.keys, self.values):
            for i, cache in enumerate(caches):
                caches[i] = cache[indices]
        self.bias, self.next_position, self.sequences = self.bias[rows], self.next_position[rows], self.sequences[rows]

    def _rotations(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (N,) -> cos and sin (N, 1, D), the sine with its first half's sign turned:
        rotate_half(x) * sin is roll(x) * sin then, one operation less."""
        cos, sin = self.base.rotary_emb(self.layers[0].input_norm, position_ids=positions[None])
        half = self.head_dim // 2
        return cos[0, :, None], torch.cat([-sin[..., :half], sin[..., half:]], -1)[0, :, None]

    def _heads(self, hidden: Tensor, layer: Layer, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return hidden (N, H) -> queries (N, Q, D), keys and values (N, K, D), turned to their places."""
        Q, K, D = self.query_heads, self.kv_heads, self.head_dim
        qkv = layer.qkv(F.rms_norm(hidden, hidden.shape[-1:], layer.input_norm, self.eps)).view(-1, Q + 2 * K, D)
        qk = qkv[:, : Q + K]
        if layer.q_norm is not None:
            qk = torch.cat([F.rms_norm(qk[:, :Q], (D,), layer.q_norm, self.eps),
                            F.rms_norm(qk[:, Q:], (D,), layer.k_norm, self.eps)], 1)  # fmt: skip
        qk = torch.addcmul(qk * cos, qk.roll(D // 2, -1), sin)
        return qk[:, :Q], qk[:, Q:], qkv[:, Q + K :]

    def _after(self, hidden: Tensor, mixed: Tensor, layer: Layer) -> Tensor:
        """Return what a layer makes of hidden (N, H) and of what its heads have mixed (N, Q D)."""
        hidden = layer.output(mixed).add_(hidden)
        gate, up = layer.gate_up(F.rms_norm(hidden, hidden.shape[-1:], layer.post_norm, self.eps)).chunk(2, -1)
        return layer.down(F.silu(gate).mul_(up)).add_(hidden)

    def _logits(self, hidden: Tensor) -> Tensor:
        return self.output(F.rms_norm(hidden, hidden.shape[-1:], self.base.norm.weight, self.eps))


def _write(cache: Tensor, column: Tensor | int, new: Tensor) -> None:
    """Write new (B, n, D) into a column of a cache (B, n, W, D)."""
    if isinstance(column, int):
        cache[:, :, column] = new
    else:
        cache.index_copy_(2, column, new[:, :, None])


def decoder_for(model: nn.Module, *, exact: bool = False, exact_below: int = 0) -> LlamaDecoder | ModuleDecoder:
    """Return the fast decoder where it gives what the model gives, else the model itself.

    `exact`: what it computes is read as a measurement, and no weight is rounded (`training.rl.products`); none below
    the layer `exact_below`, where states are kept for others to go on from.
    """
    plain = ModuleDecoder(model)
    try:
        if not attends_to_all(model.config):
            raise TypeError("a layer attends to a window")
        fast = LlamaDecoder(model, exact, exact_below)
        if fast.graph is not None:
            if plain.agrees_with(fast, steps=3):
                return fast
            fast.graph = None
        if plain.agrees_with(fast, steps=1):
            return fast
        problem = "the fast decoder gives something else"
    except (AttributeError, RuntimeError, TypeError) as error:
        problem = f"the fast decoder cannot run it: {error}"
    _log.warning("Answers are drawn by the model's own forward, which is slower: %s.", problem)
    return plain
