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

    def cross_check(self) -> dict[str, str]:
        errors = super().cross_check()
        if self.micro_batch_size == 1:  # TRL refuses it too, after minutes, in words that name no option
            errors["micro_batch_size"] = (
                "must be at least 2 for kto, or 0 for the whole batch: how far the policy has moved (KL) is estimated "
                "from the answers that are forwarded at once, and one is not enough."
            )
        return errors
