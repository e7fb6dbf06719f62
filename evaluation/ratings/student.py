"""The 97.5 % point of Student's t distribution, for intervals from few independent units."""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def student95(freedom: float) -> float:
    """The point that |t| exceeds 5 % of the time; infinite below one degree of freedom, where nothing can be said.

    Fractional degrees lie between the whole ones, evenly in 1/freedom.
    """
    if freedom < 1:
        return math.inf
    if freedom >= 200:
        return _expansion(freedom)
    below = math.floor(freedom)
    first, second = _whole(below), _whole(below + 1)
    share = (1 / below - 1 / freedom) / (1 / below - 1 / (below + 1))
    return first + share * (second - first)


def _whole(freedom: int) -> float:
    """Bisection of the finite series for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    low, high = 0.0, math.pi / 2  # of θ = arctan(t/√freedom)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < 0.95 else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _inside(theta: float, freedom: int) -> float:
    """P(|T| ≤ √freedom · tan θ)."""
    odd = freedom % 2 == 1
    term, total = (math.cos(theta), 0.0) if odd else (1.0, 0.0)
    for step in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= (step + 1) / (step + 2) * math.cos(theta) ** 2
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total


def _expansion(freedom: float) -> float:
    """Abramowitz and Stegun, 26.7.5, to the third power of 1/freedom: right to 1e-8 from 200 degrees on."""
    z = Z95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
