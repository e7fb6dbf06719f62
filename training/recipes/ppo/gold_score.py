"""Compare a second head with the score, step by step: does the policy's gain show to a head of other annotations, too?

Both are taken in units of the parent's spread, within `score_clip`. On the parent's own answers the two agree to some
degree, and by that degree a rise of the score should show in the second head: a second head of few annotations
follows less, with nothing wrong. What is watched is how far it falls *behind* that, with a 95 % interval that counts
the batch and the parent's answers. Beyond `max_gold_gap`, by the whole interval, while the score has risen, the policy
pleases what the first head got wrong (Goodhart; Gao 2023, 2210.10760).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from common.distributions import student95
from training.rl.factors import in_float64
from training.rl.guards import Drift

CODE = "reward_hacking"


@dataclass(frozen=True)
class GoldScale:
    """Hold figures of the parent's answers: mean and deviation of either head, what a unit of score foretells of the
    second head (`slope`), the deviation from that (`residual`), and how many answers (`count`)."""

    score_mean: float
    score_std: float
    gold_mean: float
    gold_std: float
    slope: float
    residual: float
    count: int

    @classmethod
    def of(cls, scores: Tensor, gold: Tensor) -> GoldScale:
        """Return the scale of scores and gold (B,), raw, of the parent's answers."""
        z, g = (in_float64((one - one.mean()) / one.std().clamp(min=1e-6)) for one in (scores, gold))
        slope = max(0.0, float((z * g).sum() / (z * z).sum().clamp(min=1e-9)))  # a rise never foretells a fall
        residual = float((g - slope * z).square().sum() / max(len(z) - 2, 1)) ** 0.5
        return cls(
            float(scores.mean()), float(scores.std().clamp(min=1e-6)), float(gold.mean()),
            float(gold.std().clamp(min=1e-6)), slope, residual, len(z),
        )  # fmt: skip

    def scaled(self, scores: Tensor, gold: Tensor, clip: float) -> tuple[Tensor, Tensor]:
        """Return scores and gold (B,), in the parent's spreads, within ±clip; 0 clips nothing."""
        z, g = (scores - self.score_mean) / self.score_std, (gold - self.gold_mean) / self.gold_std
        return (z.clamp(-clip, clip), g.clamp(-clip, clip)) if clip else (z, g)


@dataclass(frozen=True)
class Compared:
    """The two heads on one batch, in the parent's spreads: means, and by how much the second is `behind` what the score
    foretells, with its 95 % interval; `has_risen` where the score is above the parent's by the whole of its own.
    """

    score: float
    gold: float
    behind: float
    lower: float
    upper: float
    has_risen: bool

    def figures(self) -> dict[str, float]:
        """Return the figures for the log."""
        return {
            "gold_score": self.gold, "gold_gap": self.score - self.gold, "gold_behind": self.behind,
            "gold_behind_lower": self.lower, "gold_behind_upper": self.upper,
        }  # fmt: skip

    def drift(self, bound: float) -> Drift:
        """Return how much of the bound is used up, by the interval's lower end; nothing while the score has not
        risen."""
        return Drift(
            max(0.0, self.lower) / bound if self.has_risen else 0.0, CODE,
            f"the score has risen by {self.score:.1f} of the parent's deviation; the second head, trained on other "
            f"annotations, is {self.behind:.1f} below the prediction, at least {self.lower:.1f} (95 %): the "
            "policy exploits errors of the reward model",
        )  # fmt: skip


def compare(scale: GoldScale, scores: Tensor, gold: Tensor, clip: float) -> Compared:
    """Compare scores and gold (B,), raw, of one batch of at least two answers."""
    z, g = (in_float64(one) for one in scale.scaled(scores, gold, clip))
    behind, n = scale.slope * z - g, len(z)
    reach = student95(n - 1)
    # The line was itself fitted, to `count` answers, and is the less certain the further the score has moved.
    line = scale.residual**2 * (1 + float(z.mean()) ** 2) / scale.count
    error = reach * math.sqrt(float(behind.var()) / n + line)
    score_error = reach * math.sqrt(float(z.var()) / n)
    middle = float(behind.mean())
    return Compared(
        float(z.mean()), float(g.mean()), middle, middle - error, middle + error, float(z.mean()) - score_error > 0
    )
