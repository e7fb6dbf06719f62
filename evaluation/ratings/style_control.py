"""Control for style: ratings as they would be if both answers were equally long and equally decorated.

Votes follow σ(rᵢ − rⱼ + Σ βₖ·zₖ), where zₖ says how far the two answers differ in a style feature: (x_a − x_b)/(x_a +
x_b) in units of its standard deviation over the votes (Li, Angelopoulos, Chiang, LMArena, 2024, "Does style
matter?"). A tie is half a win, as in `fit`. β says what the style is worth; the ratings are what is left. Both are
shown: style is part of what people like, and control does not make the plain rating wrong.

Unlike in LMArena's code, differences are not centred before they are scaled (that would count the same vote
differently when its answers change places), nothing is added to x_a + x_b, and no penalty shrinks β or the ratings.

Votes are read once for every step of Newton's method, from a source that can be read again and again: a list, or an
object whose `__iter__` queries anew. Memory is one block, whatever the number of votes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluation.ratings.bradley_terry import CENTRE, SCALE, Fit, NotConverged, fit, sigmoid
from evaluation.ratings.style_counts import FEATURES, Style, differences, style_of
from evaluation.ratings.style_passes import Problem, StyledVotes, Sums, centred, covariance, newton, survey, votes_alone
from evaluation.ratings.voter_clusters import by_voters

__all__ = ["FEATURES", "Coefficient", "Style", "StyleFit", "StyledVotes", "differences", "fit_style", "style_of"]

RARE = 10  # votes that differ in a feature: fewer say nothing of what it is worth
MOST = 10.0  # log-odds by the largest difference: no taste is as strong, but a feature that decides every vote is


@dataclass(frozen=True)
class Coefficient:
    """The effect of a style feature: log-odds of winning per standard deviation of its difference, 95 % interval.

    NaN when it cannot be estimated from the votes: then it is left out of the control, and `reason` says why.
    """

    feature: str
    value: float
    lower: float
    upper: float
    deviation: float  # of the differences
    reason: str = ""

    def chance(self, difference: float) -> tuple[float, float, float]:
        """Return how often an answer with this `difference` is chosen over one just as good otherwise, and the
        interval.

        1/3 is for twice as long, 1 for some against none.
        """
        units = difference / self.deviation if self.deviation else math.nan
        value, *ends = (float(sigmoid(np.array(x * units))) for x in (self.value, self.lower, self.upper))
        return value, min(ends), max(ends)


@dataclass(frozen=True)
class StyleFit:
    """Hold ratings with and without style: `plain` and `controlled` ratings of the same votes, and the effect of each
    style feature."""

    plain: Fit
    controlled: Fit
    coefficients: tuple[Coefficient, ...]


def fit_style(models: Sequence[object], blocks: Iterable[StyledVotes], features: Sequence[str] = FEATURES) -> StyleFit:
    """Fit ratings of `models` with and without control of `features`, the columns of `StyledVotes.difference`.

    A feature that cannot be told from these votes is left out, and its coefficient says why. Raises ValueError on a
    source that can be read only once, on bad blocks, and where features, or a feature and the models, always go
    together.
    """
    if iter(blocks) is blocks:
        raise ValueError("votes are read several times: give a list, or an object whose __iter__ starts again.")
    surveyed = survey(tuple(models), blocks, len(features))
    plain, voters = fit(surveyed.tally), None
    if surveyed.voters_are_told:
        plain, voters = by_voters(plain, votes_alone(blocks))
    left_out = {k: _why_rare(int(n)) for k, n in enumerate(surveyed.differing) if n < RARE or not surveyed.deviation[k]}
    while True:
        used = np.array([k for k in range(len(features)) if k not in left_out], dtype=int)
        problem = Problem(blocks, surveyed.tally, plain.group, used, surveyed.deviation[used])
        point, runaway = _solve(problem, plain.log_odds, surveyed.largest[used], [features[k] for k in used])
        if runaway is None:
            break
        left_out[int(used[runaway])] = "decides every vote in which it differs"
    joint = covariance(problem, point, voters if voters and voters.repeat and voters.voters > 1 else None)
    size, same = problem.size, plain.group[:, None] == plain.group[None, :]
    rating_covariance = SCALE**2 * np.where(same, joint[:size, :size], math.nan)
    value, error = np.full((2, len(features)), math.nan)
    value[used], error[used] = point[size:], plain.critical * np.sqrt(np.diagonal(joint)[size:])
    return StyleFit(
        plain=plain,
        controlled=replace(plain, rating=CENTRE + SCALE * point[:size], covariance=rating_covariance),
        coefficients=tuple(
            Coefficient(
                feature=name,
                value=float(value[k]),
                lower=float(value[k] - error[k]),
                upper=float(value[k] + error[k]),
                deviation=float(surveyed.deviation[k]),
                reason=left_out.get(k, ""),
            )
            for k, name in enumerate(features)
        ),
    )


def _why_rare(votes: int) -> str:
    if not votes:
        return "never differs"
    return f"differs in {votes} vote{'s' if votes > 1 else ''} only" if votes < RARE else "always differs by as much"


def _solve(
    problem: Problem, start: np.ndarray, largest: np.ndarray, features: list[str]
) -> tuple[np.ndarray, int | None]:
    """Return (M + k,) log-odds, each group centred, then β; or the feature that diverges. Steps are halved while the
    loss rises."""
    size, point = problem.size, np.concatenate([start, np.zeros(len(features))])
    loss, gradient, information = newton(problem, point)
    for _ in range(60):
        if np.linalg.cond(information) > 1e10:
            names = ", ".join(features)
            raise ValueError(f"these go together without exception, or with the models: {names}; drop one.")
        step = np.linalg.solve(information, gradient)
        if np.abs(gradient).max() <= 1e-10 * problem.tally.votes:  # small beside all votes, not beside a model's few
            return point + step, None
        point, (loss, gradient, information) = _descend(problem, point, loss, step)
        reach = np.abs(point[size:]) * largest / problem.deviation
        if reach.max(initial=0) > MOST:
            return point, int(reach.argmax())
    raise NotConverged("style control did not converge in 60 Newton steps.")


def _descend(problem: Problem, point: np.ndarray, loss: float, step: np.ndarray) -> tuple[np.ndarray, Sums]:
    slack = 1e-12 * max(1.0, abs(loss))
    for _ in range(40):
        trial = centred(problem, point + step)
        sums = newton(problem, trial)
        if sums[0] <= loss + slack:
            return trial, sums
        step = step / 2
    raise NotConverged("no step along Newton's direction lowers the loss of style control.")
