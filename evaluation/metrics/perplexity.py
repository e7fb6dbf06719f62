"""Perplexity of a corpus, with an error that knows that the tokens of one text belong together.

A corpus has one perplexity: exp of all its negative log-likelihood over all its units. The mean of the texts' own
perplexities is another number, which one short odd text can carry away.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Measure:
    """A figure with its standard error, 95 % interval and the number of texts it comes from."""

    metric: str
    value: float
    standard_error: float
    lower: float
    upper: float
    n: int


def words(text: str) -> int:
    """Pieces between runs of white space, as lm-evaluation-harness counts them."""
    return len(re.split(r"\s+", text))


def measures(losses: np.ndarray, tokens: np.ndarray, texts: list[str]) -> list[Measure]:
    """Perplexity per token, word and byte, and bits per byte, of texts with summed `losses` (n,) in nats.

    Per token it depends on the tokenizer; per word and per byte, models with different tokenizers can be compared.
    Raises ValueError for fewer than two texts or one without tokens.
    """
    if len(losses) < 2:
        raise ValueError(f"an error needs at least two texts, not {len(losses)}.")
    word_counts, byte_counts = np.array([words(t) for t in texts]), np.array([len(t.encode()) for t in texts])
    return [
        _exponential("perplexity", losses, tokens),
        _exponential("word perplexity", losses, word_counts),
        _exponential("byte perplexity", losses, byte_counts),
        _bits_per_byte(losses, byte_counts),
    ]


def mean_loss(losses: np.ndarray, units: np.ndarray) -> tuple[float, float]:
    """Loss per unit and its standard error, for texts drawn whole: the ratio estimator's linearisation."""
    if np.any(units <= 0):
        raise ValueError("every text must have at least one token.")
    n, total = len(losses), units.sum()
    mean = float(losses.sum() / total)
    residuals = losses - mean * units
    return mean, float(math.sqrt(n / (n - 1) * (residuals**2).sum()) / total)


def _exponential(metric: str, losses: np.ndarray, units: np.ndarray) -> Measure:
    """exp of the mean loss; the interval is taken before the exponential, and so is never below 0."""
    mean, error = mean_loss(losses, units)
    value = math.exp(mean)
    return Measure(
        metric, value, value * error, math.exp(mean - Z95 * error), math.exp(mean + Z95 * error), len(losses)
    )


def _bits_per_byte(losses: np.ndarray, units: np.ndarray) -> Measure:
    mean, error = (x / math.log(2) for x in mean_loss(losses, units))
    return Measure("bits per byte", mean, error, mean - Z95 * error, mean + Z95 * error, len(losses))
