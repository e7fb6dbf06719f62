from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class PretrainConfig:
    """Pretrain a model from nothing: causal, masked, span corruption, or a mixture."""

    kind: ClassVar[str] = "pretrain"
    batch_size: int = option(8, "examples in one optimiser step", low=1, high=4096)
