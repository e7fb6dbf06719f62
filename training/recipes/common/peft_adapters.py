"""Describe LoRA adapters in PEFT's terms, for trainers that want that; recipes of our own use `training.rl.lora`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from peft import LoraConfig


def lora_config(model: Any, blocks: Iterable[torch.nn.Module], rank: int, task_type: str | None = None) -> LoraConfig:
    """Return adapters on every linear layer of these blocks of the model."""
    inside = {module for block in blocks for module in block.modules() if isinstance(module, torch.nn.Linear)}
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=[name for name, module in model.named_modules() if module in inside],
        task_type=task_type,
    )
