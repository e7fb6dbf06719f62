"""Tail probabilities without scipy: of chi-square, and the interval of a share."""

from __future__ import annotations

import math

from .student import Z95


def chi_square_tail(value: float, degrees: float) -> float:
    """Probability that chi-square of `degrees` exceeds `value`: the upper incomplete gamma function Q(d/2, v/2).

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


def wilson(successes: float, trials: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927); (0, 1) without trials."""
    if not trials:
        return 0.0, 1.0
    share, z2 = successes / trials, Z95**2 / trials
    middle, reach = share + z2 / 2, Z95 * math.sqrt((share * (1 - share) + z2 / 4) / trials)
    lower, upper = (middle - reach) / (1 + z2), (middle + reach) / (1 + z2)
    return (lower if share > 0 else 0.0), (upper if share < 1 else 1.0)
