"""The win rate that answers of equal length would have: AlpacaEval 2's length control (Dubois et al., 2024).

The paper is 2404.04475. A logistic regression tells the points of each vote by who answered and by how much longer the
answer was:

    P(win) = σ(θ + φ · tanh(d / s)),   d the answer's characters less the opponent's, s the standard deviation of d

and the length-controlled win rate is σ(θ): the prediction at d = 0. As there, a tie is half a win and half a loss.

Left out: the paper's third term, how hard each instruction is, which only many models on the same instructions can
tell; and its weak penalty against answers that were shortened on purpose. What is added: the paper gives the spread of
predictions, which without the third term is nothing; here the interval is the sandwich's, by voters and by prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.distributions import student95
from evaluation.metrics.win_rates import Array, Labels, clustered_variance, degrees, places

_STEPS = 100
_NOTHING = 1e-9  # in log-odds
_FARTHEST = 15.0  # in log-odds: beyond, a win rate is 1 to six digits and the data hold nothing against it


@dataclass(frozen=True)
class LengthControl:
    """Hold what lengths explain of the wins. `length` is φ: by how many log-odds much longer answers gain; `scale` is
    s, in characters."""

    value: float
    standard_error: float
    lower: float  # 95 %
    upper: float
    n: int
    length: float
    length_error: float
    scale: float


def length_controlled(
    points: Sequence[float] | Array, longer_by: Sequence[float] | Array, voters: Labels, prompts: Labels
) -> LengthControl:
    """Return the win rate of answers of equal length. `points` (n,) in 0 to 1; `longer_by` (n,): characters of the
    answer less those of the opponent's.

    Raises ValueError where no length control is possible: lengths do not differ, the votes are told apart without a
    doubt (all were won, or the longer answer always won), so that the fit has no finite answer, or they vary neither
    between voters nor between prompts (all are ties, or one voter judged one prompt).
    """
    y, d = np.asarray(points, dtype=float), np.asarray(longer_by, dtype=float)
    if len(y) != len(d):
        raise ValueError(f"{len(y)} votes have {len(d)} differences of length: each needs one.")
    scale = float(d.std(ddof=1)) if len(d) > 1 else 0.0
    if scale == 0:
        raise ValueError("all answers are longer by the same number of characters: nothing can be controlled for.")
    x = np.stack([np.ones(len(d)), np.tanh(d / scale)], axis=1)  # (n, 2)
    theta, inverse = _fit(y, x)
    rate = _sigmoid(x @ theta)
    influence = (x * (y - rate)[:, None]) @ inverse  # (n, 2), what each vote moves θ and φ by
    voter, prompt = places(voters), places(prompts)
    error, slope_error = (math.sqrt(clustered_variance(influence[:, i], voter, prompt)) for i in (0, 1))
    if error < _NOTHING:
        raise ValueError("the votes vary neither between voters nor between prompts: how sure it is cannot be told.")
    reach = student95(max(degrees(voter, prompt), 1)) * error
    value = float(_sigmoid(theta[0]))
    return LengthControl(
        value,
        value * (1 - value) * error,
        float(_sigmoid(theta[0] - reach)),
        float(_sigmoid(theta[0] + reach)),
        len(y),
        float(theta[1]),
        slope_error,
        scale,
    )


def _fit(y: Array, x: Array) -> tuple[Array, Array]:
    """Fit by maximum likelihood with Newton's method: (coefficients (k,), inverse of the information (k, k))."""
    theta = np.zeros(x.shape[1])
    for _ in range(_STEPS):
        rate = _sigmoid(x @ theta)
        information = x.T @ (x * (rate * (1 - rate))[:, None])
        step = _solved(information, x.T @ (y - rate))
        theta = theta + step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(theta).max() > _FARTHEST:
            break
        if np.abs(step).max() < 1e-10:
            return theta, np.linalg.inv(information).astype(float)
    raise ValueError(
        "the model or the length alone predicts every vote: there are too few votes on the other side to estimate "
        "what equal lengths would give."
    )


def _solved(information: Array, score: Array) -> Array:
    try:
        return np.linalg.solve(information, score).astype(float)
    except np.linalg.LinAlgError:
        return np.full(len(score), 2 * _FARTHEST) * np.sign(score)


def _sigmoid(x: NDArray | float) -> Array:
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, dtype=float)))
