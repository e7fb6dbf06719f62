from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class KTOConfig:
    """Kahneman-Tversky optimisation on thumbs (TRL)."""

    kind: ClassVar[str] = "kto"
    batch_size: int = option(8, "examples in one optimiser step", low=1, high=4096)
