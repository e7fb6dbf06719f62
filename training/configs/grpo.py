from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.group import GroupConfig
from training.configs.options import option


@dataclass(frozen=True)
class GRPOConfig(GroupConfig):
    """Group relative policy optimisation (TRL)."""

    kind: ClassVar[str] = "grpo"
    scale_rewards: str = option(
        "group",
        "group: advantages are divided by their group's deviation; batch: by the batch's; none: not at all (Dr. GRPO)",
        choices=("group", "batch", "none"),
        advanced=True,
    )
    loss: str = option(
        "dapo", "how token losses are averaged", choices=("dapo", "grpo", "bnpo", "dr_grpo"), advanced=True
    )
