from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.group import GroupConfig
from training.configs.options import option


@dataclass(frozen=True)
class RLOOConfig(GroupConfig):
    """REINFORCE leave-one-out (TRL)."""

    kind: ClassVar[str] = "rloo"
    normalise_advantages: bool = option(False, "advantages to mean 0, variance 1 over the batch", advanced=True)
