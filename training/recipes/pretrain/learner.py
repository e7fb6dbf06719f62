"""What pretraining and domain finetuning learn with: the model, the rows, and how (`learning`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch

from training.core.run_directory import RunDirectory
from training.recipes.common.processes import Processes
from training.recipes.pretrain.objectives import Objective
from training.recipes.pretrain.text_rows import TextRows


class LoopConfig(Protocol):
    """Hold what the loop reads of a recipe's config."""

    batch_size: int
    schedule: str
    warmup_ratio: float
    decay_ratio: float
    final_rate: float
    weight_decay: float
    beta2: float
    max_grad_norm: float
    validate_every: int
    checkpoint_every: int
    sample_every: int

    @property
    def rate(self) -> float: ...


@dataclass
class Learner:
    """Hold what learns, from what, and how. `sample(step)` logs what the model writes, `keep(step)` keeps its model, if
    the step is one of those to keep.

    `validators` are objectives by name; of the first one's losses, perplexity and bits per byte are told. `masters` are
    the float32 weights that `learn` moves.
    """

    run: RunDirectory
    config: Any  # a LoopConfig
    model: Any
    objective: Objective
    rows: TextRows
    validators: dict[str, Objective]
    validation: list[np.ndarray]
    validation_bytes_per_token: float
    total_steps: int
    micro_batch: int
    dtype: torch.dtype
    device: torch.device
    together: Processes
    sample: Callable[[int], None]
    keep: Callable[[int], None] = lambda step: None
    masters: dict[str, torch.Tensor] = field(default_factory=dict)
