from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from training.configs.options import option
from training.configs.preference import PreferenceConfig


@dataclass(frozen=True)
class DPOConfig(PreferenceConfig):
    """Direct preference optimisation on pairs (TRL)."""

    kind: ClassVar[str] = "dpo"
    loss: str = option(
        "sigmoid",
        "sigmoid: DPO; ipo: a margin that cannot run away; hinge: SLiC; robust: votes are wrong at a known rate",
        choices=("sigmoid", "ipo", "hinge", "robust"),
    )
    label_smoothing: float = option(
        0.0, "share of votes taken to be wrong (sigmoid and robust)", low=0, high=0.49, advanced=True
    )

    def cross_check(self) -> dict[str, str]:
        errors = super().cross_check()
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            errors["label_smoothing"] = f"must be 0 with the loss {self.loss}."
        if self.loss == "robust" and not self.label_smoothing:
            errors["label_smoothing"] = "must be above 0 with the loss robust: the share of votes taken to be wrong."
        return errors
