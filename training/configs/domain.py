from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option


@dataclass(frozen=True)
class DomainConfig:
    """Go on with causal training on the texts of one domain."""

    kind: ClassVar[str] = "domain"
    batch_size: int = option(8, "examples in one optimiser step", low=1, high=4096)
