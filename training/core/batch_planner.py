"""Plan the memory of finetuning a model, and how to split a batch so that it fits what is free.

    weights       every parameter in the dtype that multiplies, and what training adds to those that learn
    activations   what a token leaves behind for the backward pass, in all layers that are run with gradients
    plan          tokens forwarded at once, and whether activations are computed twice instead of kept

Estimates, from the shapes in the model's config; a test holds them against what a run is seen to take. A choice that
depends on what is free at the moment would change between two attempts at a run, and with it the last bits:
`remembered` writes the first attempt's into the run directory, and later ones read it there. (Pretraining, whose models
do not exist yet, has `training.core.resource_estimate`.) Knows no torch: forms show what it plans.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import atomic_files
from training.core.run_directory import RecipeFailure

SHARE = 0.8  # of what is free: others work on the machine too, and estimates are no measurements
CPU_TOKENS = 1024  # fill a processor's matrix products; more at once brings no speed and takes memory
GPU_TOKENS = 16_384
PROMPT_TOKENS = 4096  # that a sampler reads at once, padding counted: what stands between its products is 30 kB a token
QUERIES = 256  # attended at once by packed layers: see `training.rl.packed.packed_rows`
KEPT_TRUNK_BYTES = 2**29  # of the frozen lower layers' outputs, for all examples together
LOGIT_COPIES = 4, 4  # of a token's logits at once, in the model's dtype and in float32, where its own forward is run
LOGIT_BYTES = 10  # of one that a loss makes in a chunk: in bfloat16, in float32 and as gradient
# Of all memory, what PPO's activations between forward and backward may take, and its caches of sampling; of a
# processor's not more than so much, since larger batches are hardly faster there.
ACTIVATIONS, CACHES, CPU_CACHE = 1 / 4, 1 / 8, 2.0**29
BULK_CACHE = 2.0**30  # where answers are drawn and nothing learns: more rows make a row cheaper still
LEARNT_BYTES = 16  # master, two moments and gradient, float32


@dataclass(frozen=True)
class Shape:
    """A decoder as its config describes it. `packed`: run by `training.rl.packed`, which keeps less."""

    layers: int  # with gradients
    hidden: int
    inner: int
    heads: int
    key_heads: int
    head_dim: int
    dtype_bytes: int
    packed: bool
    logits: int = 0  # bytes of a token's, where a pass has those of all tokens

    def bytes_per_token(self, longest: int, *, recompute: bool) -> int:
        """Return bytes of the activations of one token, all layers together; `longest` sequences have the longest rows
        of attention."""
        if recompute:
            again = self._layer(longest) // max(CPU_TOKENS // longest, 1)
            return self.layers * self.hidden * self.dtype_bytes + again + self.logits
        return self.layers * self._layer(longest) + self.logits

    def bytes_of_answers(self, prompt: int, answer: int, count: int) -> int:
        """Return bytes of the activations of `count` answers to one prompt, packed: its tokens are computed once, and
        stand beside each answer where that attends to them."""
        length = prompt + answer
        scores = attention_scores(length) + (count - 1) * attention_scores(length, prompt)
        return self.layers * self._packed_layer(prompt + count * answer, count * length, scores)

    def _packed_layer(self, tokens: int, places: int, scores: int) -> int:
        """Return bytes that one layer keeps of so many tokens, which attention copies to so many places."""
        queries = self.heads * self.head_dim
        of_token = 2 * self.hidden + queries + 2 * self.inner
        of_place = queries + 2 * self.key_heads * self.head_dim
        return (tokens * of_token + places * of_place + self.heads * scores) * self.dtype_bytes

    def _layer(self, longest: int) -> int:
        """Return bytes that one layer keeps of one token of a sequence of that length."""
        if self.packed:
            return self._packed_layer(longest, longest, attention_scores(longest)) // longest
        heads = (self.heads + 2 * self.key_heads) * self.head_dim
        # transformers' own layers keep norms in float32, rotations and every product's input and output.
        numbers = 12 * self.hidden + 3 * heads + 5 * self.inner
        return numbers * self.dtype_bytes


@dataclass(frozen=True)
class Plan:
    """Plan `tokens` at once at most (one sequence at least), `recompute` activations, and the estimate in bytes."""

    tokens: int
    recompute: bool
    bytes: int


def attention_scores(length: int, skip: int = 0) -> int:
    """Return the scores that each head of a packed layer keeps of a sequence, whose first `skip` queries stand in
    another one: blocks of queries do not look at keys behind them."""
    blocks = ((max(start, skip), min(start + QUERIES, length)) for start in range(0, length, QUERIES))
    return sum((end - start) * end for start, end in blocks if start < end)


def logit_bytes(vocabulary: int, dtype_bytes: int) -> int:
    """Return the bytes of a token's logits and of what learning makes of them, where a pass has those of all tokens."""
    rounded, wide = LOGIT_COPIES
    return vocabulary * (rounded * dtype_bytes + 4 * wide)


def shape_of(config: Any, *, layers: int, dtype_bytes: int, packed: bool) -> Shape:
    """Return the shape from a transformers config, whichever names it uses; a feed-forward size that it leaves out is 4
    x hidden."""
    heads = config.num_attention_heads
    inner = getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * config.hidden_size
    return Shape(
        layers=layers,
        hidden=config.hidden_size,
        inner=inner,
        heads=heads,
        key_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        dtype_bytes=dtype_bytes,
        packed=packed,
    )


def plan(
    shape: Shape, *, learnt: int, longest: int, batch_tokens: int, available: float, most: int, checkpointing: str,
    shorter: str = "a smaller max_length", row: int | None = None, device: str = "cpu",
) -> Plan:  # fmt: skip
    """Return how to run batches of `batch_tokens` tokens with examples of at most `longest`, once the weights are
    loaded.

    `learnt` parameters get gradients and moments. checkpointing: auto, on, off. Raises RecipeFailure when not even one
    example at a time fits; `shorter` is the option that would make it so. `row` is the longest sequence, where an
    example is several.
    """
    fixed = learnt * LEARNT_BYTES + LOGIT_BYTES * loss_logits(device)
    room = SHARE * available - fixed
    wanted_tokens = max(min(most, batch_tokens), longest)
    cheapest = 0
    for recompute in {"auto": (False, True), "on": (True,), "off": (False,)}[checkpointing]:
        per_token = shape.bytes_per_token(row or longest, recompute=recompute)
        cheapest = fixed + longest * per_token
        tokens = min(wanted_tokens, int(max(room, 0) // per_token))
        # Less than half of what fills the machine: computing activations twice costs less than small products.
        enough = longest if recompute or checkpointing == "off" else max(longest, wanted_tokens // 2)
        if tokens >= enough:
            return Plan(tokens, recompute, fixed + tokens * per_token)
    raise RecipeFailure(
        "does_not_fit",
        f"One example of {longest} tokens needs about {cheapest / 1e9:.2g} GB beside the model's weights, and "
        f"{max(SHARE * available, 0) / 1e9:.2g} GB can be used here.",
        _remedy(checkpointing, shorter),
    )


def loss_logits(device: str) -> int:
    """Return how many logits a loss makes at once. On a processor 29 MB of float32: they stay in its cache or near it,
    and from 32 MB on malloc maps an array anew each time. A GPU takes as long to start a kernel as to run it on few."""
    return 2**26 if device == "cuda" else 7 * 2**20


def logprob_rows(device: str, vocabulary: int) -> int:
    """Return of how many tokens log-probabilities are computed at once: 128 x 49,152 float32 probabilities, 25 MB, stay
    within the last-level cache of a server core or two. As many logits as a loss makes at most, 16 tokens at least."""
    return max(16, min(1024 if device == "cuda" else 128, loss_logits(device) // vocabulary))


def tokens_at_once(shape: Shape, *, longest: int, memory: float, on_cpu: bool) -> int:
    """Return how many tokens PPO forwards at once with gradients: what their share of `memory` bytes holds, as many as
    the device gains by at most, and one sequence of `longest` at least."""
    most, room = CPU_TOKENS if on_cpu else GPU_TOKENS, ACTIVATIONS * memory
    return max(longest, min(most, int(room // max(shape.bytes_per_token(longest, recompute=False), 1))))


def prompts_at_once(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (first, end) of the prompts of such lengths that a sampler reads at once."""
    first, longest = 0, 0
    for i, length in enumerate(lengths):
        longest = max(longest, length)
        if i > first and (i + 1 - first) * longest > PROMPT_TOKENS:
            yield first, i
            first, longest = i, length
    yield first, len(lengths)


def rows_at_once(
    shape: Shape, *, length: int, memory: float, on_cpu: bool, cpu_cache: float = CPU_CACHE
) -> int:  # fmt: skip
    """Return how many sequences of `length` tokens are sampled at once: as many as have their keys and values of all
    `shape.layers` in their share of `memory` bytes, on a processor in `cpu_cache` at most; 16 at least, since fewer
    rows leave a product waiting for its weights."""
    room = min(CACHES * memory, cpu_cache) if on_cpu else CACHES * memory
    row = 2 * shape.layers * shape.key_heads * shape.head_dim * shape.dtype_bytes * length
    return max(16, int(room // row))


def _remedy(checkpointing: str, shorter: str) -> str:
    first = "set activation_checkpointing to on, " if checkpointing == "off" else ""
    return f"Queue it again with changes: {first}{shorter}, or adapters top or lora instead of every weight."


def remembered(folder: Path, name: str, make: Callable[[], Any]) -> Any:
    """Return what the first attempt at the run in `folder` chose under that name (JSON); `make` chooses if this is
    it."""
    path = folder / "fit.json"
    choices = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in choices:
        choices[name] = make()
        atomic_files.write_text(path, json.dumps(choices))
    return choices[name]


def even_batches(lengths: list[int], tokens: int) -> list[list[int]]:
    """Return indices of `lengths` in nearly equal groups of about `tokens` tokens: half as many more at most, but for
    sequences that are as long, since a second product of a few rows costs more than it frees."""
    count = min(len(lengths), max(1, round(sum(lengths) / tokens)))
    groups: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = filled.index(min(filled))
        groups[least].append(index)
        filled[least] += lengths[index]
    return [sorted(group) for group in groups]


def micro_batches(lengths: list[int], tokens: int, *, padded: bool) -> list[list[int]]:
    """Return indices of `lengths` in groups of at most `tokens` tokens (one sequence at least), the longest first.

    Neighbours are alike in length, so that `padded` groups, which count their padding, have little of it.
    """
    groups: list[list[int]] = []
    filled = 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        widest = lengths[groups[-1][0]] if groups else 0
        after = widest * (len(groups[-1]) + 1) if padded and groups else filled + lengths[index]
        if not groups or after > tokens:
            groups.append([])
            after = lengths[index]
        groups[-1].append(index)
        filled = after
    return groups
