"""What a reward model sees of a completion: hidden states of a frozen trunk, pooled over the completion's tokens.

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
from transformers import DynamicCache

Feature = tuple[int, str]  # (index into transformers' hidden_states, "mean" or "last")


class _Enough(Exception):
    """Raised by a hook once the highest layer that is needed has run."""


def decoder_layers(model: Any) -> torch.nn.ModuleList:
    """The stack of transformer blocks, whatever its architecture calls it."""
    count = model.config.num_hidden_layers
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == count)


@contextmanager
def tapped(model: Any, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """Collect `hidden_states[i]` for i in `layers` from the next forward, which ends after the highest of them.

    Index 0 is what enters the first block, i what leaves block i, and the last one is taken after the final norm, as in
    transformers' `output_hidden_states`.
    """
    blocks = decoder_layers(model)
    got: dict[int, Tensor] = {}
    top = max(layers)

    def before_first(_module: Any, args: Any, kwargs: Any) -> None:
        got[0] = args[0] if args else kwargs["hidden_states"]
        if top == 0:
            raise _Enough

    def after(index: int) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            got[index] = output[0] if isinstance(output, tuple) else output
            if index == top:
                raise _Enough

        return hook

    handles = [blocks[0].register_forward_pre_hook(before_first, with_kwargs=True)] if 0 in layers else []
    handles += [blocks[i - 1].register_forward_hook(after(i)) for i in layers if 0 < i < len(blocks)]
    try:
        yield got
    finally:
        for handle in handles:
            handle.remove()


def run_trunk(model: Any, layers: Sequence[int], **inputs: Any) -> dict[int, Tensor]:
    """{layer: (B, T, H)} of the trunk below the language-model head; upper layers that nobody asked for do not run."""
    base = getattr(model, model.base_model_prefix, model)
    with tapped(model, layers) as got:
        try:
            output = base(**inputs)
        except _Enough:
            return got
        got[len(decoder_layers(model))] = output.last_hidden_state
    return got


def hidden_states(model: Any, input_ids: Tensor, attention_mask: Tensor, layers: Sequence[int]) -> dict[int, Tensor]:
    """{layer: (B, T, H)} for sequences (B, T) padded on either side; positions count the attended tokens."""
    positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    return run_trunk(
        model, layers, input_ids=input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False
    )


def completion_states(
    model: Any, prompts: list[list[int]], groups: list[list[list[int]]], layers: Sequence[int], pad: int
) -> tuple[dict[int, Tensor], Tensor]:
    """Hidden states of every completion's tokens, and their mask (B, Tc): prompt i is forwarded once for `groups[i]`.

    B counts the completions, in the order of the groups. Differentiable.
    """
    where = model.device
    owner = torch.tensor([i for i, group in enumerate(groups) for _ in group], device=where)
    prompt_ids, prompt_mask = _pad(prompts, pad, where, left=True)
    tokens, mask = _pad([c for group in groups for c in group], pad, where, left=False)
    cache = DynamicCache(config=model.config)
    positions = (prompt_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    top = [max(layers)]
    run_trunk(
        model, top, input_ids=prompt_ids, attention_mask=prompt_mask, position_ids=positions,
        cache=cache, use_cache=True,
    )  # fmt: skip
    cache.batch_select_indices(owner)
    positions = prompt_mask.sum(dim=1)[owner, None] + torch.arange(tokens.shape[1], device=where)
    attended = torch.cat([prompt_mask[owner], mask], dim=1)
    states = run_trunk(
        model, layers, input_ids=tokens, attention_mask=attended, position_ids=positions,
        cache=cache, use_cache=True,
    )  # fmt: skip
    return states, mask.bool()


def pool(hidden: dict[int, Tensor], completion_mask: Tensor, features: Sequence[Feature]) -> Tensor:
    """(B, F) float32: for each feature, the completion's mean or its last token; zeros when it is empty."""
    mask = completion_mask.bool()
    rows = torch.arange(mask.shape[0], device=mask.device)
    count = mask.sum(dim=1)
    last = (mask.long() * torch.arange(1, mask.shape[1] + 1, device=mask.device)).amax(dim=1).sub(1).clamp(min=0)
    pooled = []
    for layer, how in features:
        states = hidden[layer]
        if how == "last":
            pooled.append(states[rows, last].float() * (count > 0)[:, None])
        else:
            total = torch.where(mask[:, :, None], states, 0).sum(dim=1, dtype=torch.float32)
            pooled.append(total / count.clamp(min=1)[:, None])
    return torch.cat(pooled, dim=1)


def _pad(rows: list[list[int]], pad: int, where: Any, *, left: bool) -> tuple[Tensor, Tensor]:
    width = max((len(row) for row in rows), default=0) or 1
    filled, mask = [], []
    for row in rows:
        gap = width - len(row)
        filled.append([pad] * gap + row if left else row + [pad] * gap)
        mask.append([0] * gap + [1] * len(row) if left else [1] * len(row) + [0] * gap)
    return torch.tensor(filled, device=where), torch.tensor(mask, device=where)
