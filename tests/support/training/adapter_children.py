"""Adapter children of tiny models, as training leaves them, without training."""

from __future__ import annotations

from pathlib import Path

import torch

from training.recipes.common import children, loading
from training.recipes.common.features import decoder_layers
from training.rl.lora import LoRALinear, add_adapters

IDS = [[5, 9, 40, 17, 3, 66, 21, 8], [30, 2, 11, 77, 54]]


def base(source: Path, folder: Path) -> Path:
    """The same model with its weights on bfloat16's grid, as those of every imported model."""
    model, tokenizer = loading.load_policy(source, torch.float32)
    loading.save_policy(model, tokenizer, folder)
    return folder


def child(parent: Path, folder: Path, *, size: float = 0.1, rank: int = 4, seed: int = 1) -> children.Saved:
    """A child of `parent` in `folder`, whose factors b have moved by some `size`."""
    model, tokenizer = loading.load_policy(parent, torch.float32)
    add_adapters(decoder_layers(model), rank, 2.0 * rank, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoRALinear):
                module.lora_b.copy_(torch.randn(module.lora_b.shape, generator=generator) * size)
    return children.save_child(parent, model, tokenizer, folder, IDS)


def logits(model) -> torch.Tensor:
    return torch.cat(children.next_token_logits(model, IDS))
