"""Compute points and tail probabilities of distributions, without scipy: the normal, Student's t, chi-square."""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
ROUNDED_Z95 = 1.96  # as training's recorded figures have it


def student95(freedom: float) -> float:
    """Return the point that |t| exceeds 5 % of the time; infinite below one degree of freedom, where nothing can be
    said.

    Fractional degrees lie between the whole ones, evenly in 1/freedom.
    """
    if freedom < 1:
        return math.inf
    if freedom >= 200:
        return _expansion(freedom)
    below = math.floor(freedom)
    first, second = _whole_degrees(below), _whole_degrees(below + 1)
    share = (1 / below - 1 / freedom) / (1 / below - 1 / (below + 1))
    return first + share * (second - first)


def _whole_degrees(freedom: int) -> float:
    """Return the point for whole degrees of freedom, by bisection of the finite series (Abramowitz and Stegun, 26.7.3
    and 26.7.4)."""
    low, high = 0.0, math.pi / 2  # of θ = arctan(t/√freedom)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < 0.95 else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def _inside(theta: float, freedom: int) -> float:
    """Return P(|T| ≤ √freedom · tan θ)."""
    odd = freedom % 2 == 1
    term, total = (math.cos(theta), 0.0) if odd else (1.0, 0.0)
    for step in range(1 if odd else 0, freedom - 1, 2):
        total += term
        term *= (step + 1) / (step + 2) * math.cos(theta) ** 2
    return 2 / math.pi * (theta + math.sin(theta) * total) if odd else math.sin(theta) * total


def _expansion(freedom: float) -> float:
    """Return Abramowitz and Stegun, 26.7.5, to the third power of 1/freedom: right to 1e-8 from 200 degrees on."""
    z = Z95
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def chi_square_tail(value: float, degrees: float) -> float:
    """Return the probability that chi-square of `degrees` exceeds `value`: the upper incomplete gamma function Q(d/2,
    v/2).

    By its series below d/2 + 1 and by Lentz's continued fraction above (Numerical Recipes, 6.2); 12 digits.
    """
    if degrees <= 0 or value < 0:
        raise ValueError(f"chi-square needs degrees above 0 and a value of 0 or more: got {degrees}, {value}.")
    shape, x = degrees / 2, value / 2
    if x == 0:
        return 1.0
    front = math.exp(shape * math.log(x) - x - math.lgamma(shape))
    return 1 - front * _series(shape, x) if x < shape + 1 else front * _fraction(shape, x)


def _series(shape: float, x: float) -> float:
    term = total = 1 / shape
    n = shape
    while abs(term) > 1e-16 * abs(total):
        n += 1
        term *= x / n
        total += term
    return total


def _fraction(shape: float, x: float) -> float:
    tiny = 1e-300
    b = x + 1 - shape
    c, d = 1 / tiny, 1 / b
    result = d
    for k in range(1, 100_000):
        a, b = -k * (k - shape), b + 2
        d = 1 / (a * d + b or tiny)
        c = b + a / c or tiny
        result *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return result
