"""Compute Wilson's interval of a share."""

from __future__ import annotations

import math

from common.distributions import Z95


def wilson(successes: float, trials: float, z: float = Z95) -> tuple[float, float]:
    """Return the interval of a share at `z` standard errors, 95 % by default (Wilson, 1927); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share, z2 = successes / trials, z**2 / trials
    middle, reach = share + z2 / 2, z * math.sqrt((share * (1 - share) + z2 / 4) / trials)
    lower, upper = (middle - reach) / (1 + z2), (middle + reach) / (1 + z2)
    return (lower if share > 0 else 0.0), (upper if share < 1 else 1.0)
