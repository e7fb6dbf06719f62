"""Pool hidden states of a frozen trunk over a completion's tokens: what a reward model sees.

The layout, the same for fitting, for PPO's rollouts and for scoring:

    [chat-template prompt, its last max_prompt_tokens][completion, its first max_completion_tokens]

No EOS and no other token follows the completion: whether an answer ended by itself is for PPO's penalty, not for the
score, and what people judged was the text. A causal model's states do not see what comes after, so that a rollout may
carry its EOS and padding behind as long as its completion mask leaves them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from training.recipes.common import branches, sharding

Feature = tuple[int, str]  # (index into transformers' hidden_states, "mean" or "last")


class _Enough(Exception):
    """Raised by a hook once the highest layer that is needed has run."""


def decoder_layers(model: Any) -> torch.nn.ModuleList:
    """Return the stack of transformer blocks, whatever its architecture calls it."""
    count = model.config.num_hidden_layers
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count)


def adapted_layers(model: Any, adapters: str) -> list[torch.nn.Module]:
    """Return the blocks that get adapters: for `top` those of the top third, so that no gradient flows through the
    others."""
    blocks = list(decoder_layers(model))
    return blocks[-max(len(blocks) // 3, 1) :] if adapters == "top" else blocks


@contextmanager
def tapped(model: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collect `hidden_states[i]` for i in `layers` from the next forward, which ends after the highest of them.

    Index 0 is what enters the first block, i what leaves block i, and the last one is taken after the final norm, as in
    transformers' `output_hidden_states`.
    """
    blocks = decoder_layers(model)
    states: dict[int, Tensor] = {}
    top = max(layers)

    def before_first(_module: Any, args: Any, kwargs: Any) -> None:
        states[0] = args[0] if args else kwargs["hidden_states"]
        if top == 0:
            raise _Enough

    def after(index: int) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            states[index] = output[0] if isinstance(output, tuple) else output
            if index == top:
                raise _Enough

        return hook

    handles = [blocks[0].register_forward_pre_hook(before_first, with_kwargs=True)] if 0 in layers else []
    handles += [blocks[i - 1].register_forward_hook(after(i)) for i in layers if 0 < i < len(blocks)]
    try:
        yield states
    finally:
        for handle in handles:
            handle.remove()


def run_trunk(model: Any, layers: Sequence[int], **inputs: Any) -> dict[int, Tensor]:
    """Return {layer: (B, T, H)} of the trunk below the language-model head; upper layers that nobody asked for do not
    run."""
    base = getattr(model, model.base_model_prefix, model)
    with tapped(model, layers) as states:
        try:
            output = base(**inputs)
        except _Enough:
            return states
        states[len(decoder_layers(model))] = output.last_hidden_state
    return states


def hidden_states(model: Any, input_ids: Tensor, attention_mask: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
    """Return {layer: (B, T, H)} for sequences (B, T) padded on either side; positions count the attended tokens."""
    positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    return run_trunk(
        model, layers, input_ids=input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False
    )


def completion_states(
    model: Any, prompts: list[list[int]], groups: list[list[list[int]]], layers: Sequence[int], pad: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Return hidden states of every completion's tokens, (B, Tc, H) each, and their mask (B, Tc).

    Prompt i is forwarded once for all of `groups[i]`. B counts the completions, in the order of the groups.
    Differentiable.
    """
    rows = branches.rows_of(prompts, groups, branching=branches.can_branch(model.config))
    if branches.packs(model):
        packed = branches.packed_states(model, rows, layers)
        index, inside = branches.flat_places(rows)
        return {layer: hidden[index] for layer, hidden in packed.items()}, inside
    ids, sight = branches.tensors(rows, pad, sharding.dtype_of(model))
    inputs = {name: tensor.to(model.device) for name, tensor in {"input_ids": ids, **sight}.items()}
    states = run_trunk(model, layers, **inputs, use_cache=False)
    row, column, inside = (t.to(model.device) for t in branches.places(rows))
    return {layer: hidden[row[:, None], column] for layer, hidden in states.items()}, inside


def pool(hidden: dict[int, Tensor], completion_mask: Tensor, features: Sequence[Feature]) -> Tensor:
    """Return (B, F) float32: for each feature, the completion's mean or its last token; zeros when it is empty."""
    mask = completion_mask.bool()
    rows = torch.arange(mask.shape[0], device=mask.device)
    count = mask.sum(dim=1)
    last = (mask.long() * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1).sub(1).clamp(min=0)
    pooled = []
    for layer, pooling in features:
        states = hidden[layer]
        if pooling == "last":
            pooled.append(states[rows, last].float() * (count > 0)[:, None])
        else:
            total = torch.where(mask[:, :, None], states, 0).sum(dim=1, dtype=torch.float32)
            pooled.append(total / count.clamp(min=1)[:, None])
    return torch.cat(pooled, dim=1)
