"""Wilson's interval of a share, which training's pages and recipes take from here. Pure."""

from __future__ import annotations

import math

Z95 = 1.96


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The interval of a share (Wilson 1927), never empty and within 0 to 1; (0, 1) when nothing was drawn."""
    if n == 0:
        return 0.0, 1.0
    share, spread = successes / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
