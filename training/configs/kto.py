from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option
from training.configs.preference import PreferenceConfig


@dataclass(frozen=True)
class KTOConfig(PreferenceConfig):
    """Kahneman-Tversky optimisation on thumbs (TRL)."""

    kind: ClassVar[str] = "kto"
    balance: bool = option(
        True, "weigh thumbs up and thumbs down so that both sides count alike, however many there are"
    )
