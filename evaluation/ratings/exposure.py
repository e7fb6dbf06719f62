"""Describe how the votes were collected: which position was shown first, which pairs met how often, what joins the
models.

A rating is as good as its battles: sides that favour the first, models sampled more than others (Singh et al., 2025,
"The Leaderboard Illusion") or boards held together by a single pair are told here, beside the ratings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from common.distributions import Z95
from common.intervals import wilson
from evaluation.ratings.bradley_terry import HALF_WIN, SCALE, Fit, sigmoid
from evaluation.ratings.pair_residuals import expected_scores
from evaluation.ratings.tally import Tally
from evaluation.ratings.vote_graph import groups


@dataclass(frozen=True)
class Position:
    """The effect of being shown first, in rating points.

    `share` of decisive votes for the first, with Wilson's interval; `points` in rating points, allowing for who was
    shown first; both None without decisive votes. Per model (M,): its mean score when first less when second, both
    less what was expected, with 95 % interval; NaN unless it was shown twice on each side and its votes vary.
    """

    share: float | None
    share_interval: tuple[float, float]
    points: float | None
    points_interval: tuple[float, float] | None
    effect: np.ndarray
    effect_lower: np.ndarray
    effect_upper: np.ndarray
    shown_first: np.ndarray
    shown_second: np.ndarray


@dataclass(frozen=True)
class Bridge:
    """A pair whose votes alone join two parts of the board, and the number of these votes."""

    i: int
    j: int
    votes: int


@dataclass(frozen=True)
class Connectivity:
    """Say how models are joined by votes. `parts`: indices of models joined by some chain of votes, largest first;
    `bridges`: pairs that hold one together.

    `weakest_cut`: the fewest votes without which the largest part falls apart, with the smaller side; None with fewer
    than two models in it.
    """

    parts: tuple[tuple[int, ...], ...]
    bridges: tuple[Bridge, ...]
    weakest_cut: tuple[int, tuple[int, ...]] | None

    @property
    def is_connected(self) -> bool:
        return len(self.parts) == 1


@dataclass(frozen=True)
class Sampling:
    """(M,) battles of each model and their share of all battles' sides; (M, M) the same of pairs.

    Even sampling would give `even_model` and `even_pair`; `ratio` and `pair_ratio` are the shares over these.
    """

    battles: np.ndarray
    share: np.ndarray
    even_model: float
    played: np.ndarray
    pair_share: np.ndarray
    even_pair: float

    @property
    def ratio(self) -> np.ndarray:
        return self.share / self.even_model

    @property
    def pair_ratio(self) -> np.ndarray:
        return self.pair_share / self.even_pair


def position(fitted: Fit) -> Position:
    """Return the effect of the position on the board as a whole and on each model."""
    cells, expected = fitted.tally.cells, np.nan_to_num(expected_scores(fitted), nan=0.5)
    a, b = float(cells[:, :, 0].sum()), float(cells[:, :, 1].sum())
    first, first_square, n_first = _surplus(cells, expected, axis=1)
    mirrored = np.stack([cells[:, :, 1].T, cells[:, :, 0].T, cells[:, :, 2].T, cells[:, :, 3].T], axis=2)
    second, second_square, n_second = _surplus(mirrored, expected, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        reach = Z95 * np.sqrt(first_square / n_first**2 + second_square / n_second**2)
        is_told = (np.minimum(n_first, n_second) >= 2) & (reach > 0)
        effect = np.where(is_told, first / n_first - second / n_second, np.nan)
    value, error = _points(cells, expected) if a + b else (None, None)
    around = (value - Z95 * error, value + Z95 * error) if value is not None and error is not None else None
    return Position(
        a / (a + b) if a + b else None, wilson(a, a + b), value, around,
        effect, effect - reach, effect + reach, n_first, n_second,
    )  # fmt: skip


def connectivity(tally: Tally) -> Connectivity:
    """Return the parts of the board, and the pairs that hold one together."""
    played = tally.wins + tally.wins.T + tally.ties
    number = groups(played > 0)
    parts = tuple(tuple(int(m) for m in np.flatnonzero(number == k)) for k in range(int(number.max(initial=-1)) + 1))
    spans = tuple(Bridge(i, j, int(played[i, j])) for i, j in _bridges(played > 0))
    cut = None
    if parts and len(parts[0]) > 1:
        members = np.array(parts[0])
        votes, side = _fewest_votes_across(played[np.ix_(members, members)])
        cut = votes, tuple(sorted(int(m) for m in members[side]))
    return Connectivity(parts, spans, cut)


def sampling(tally: Tally) -> Sampling:
    """Return how often each model and each pair was shown."""
    size, battles = len(tally.models), tally.battles
    played = tally.wins + tally.wins.T + tally.ties
    votes = max(tally.votes, 1)
    pairs = max(size * (size - 1) / 2, 1)
    return Sampling(battles, battles / (2 * votes), 1 / max(size, 1), played, played / votes, 1 / pairs)


def _surplus(cells: np.ndarray, expected: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (M,) of the rows' models when shown first: sum of score less expected, sum of its square, votes."""
    level = cells[:, :, 2] + cells[:, :, 3]
    parts = ((cells[:, :, 0], 1 - expected), (cells[:, :, 1], -expected), (level, 0.5 - expected))
    total = sum((n * gap).sum(axis=axis) for n, gap in parts)
    square = sum((n * gap**2).sum(axis=axis) for n, gap in parts)
    return np.asarray(total), np.asarray(square), cells.sum(axis=2).sum(axis=axis)


def _points(cells: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return rating points that the first position adds, and their standard error: Newton on one number, ratings held.

    Which side is shown first is drawn, so the ratings do not lean on it and may be held. Where every vote went to the
    same side, no finite number would do: half a win each way between equals is added, as in `fit`.
    """
    played, scores = cells.sum(axis=2), cells[:, :, 0] + (cells[:, :, 2] + cells[:, :, 3]) / 2
    added = 0.0 if 0 < scores.sum() < played.sum() else HALF_WIN
    odds, shift = np.log(expected / (1 - expected)), 0.0
    for _ in range(50):
        chance, even = sigmoid(odds + shift), float(sigmoid(np.array(shift)))
        information = float((played * chance * (1 - chance)).sum()) + 2 * added * even * (1 - even)
        step = float(np.clip(((scores - played * chance).sum() + added - 2 * added * even) / information, -1, 1))
        shift += step
        if abs(step) < 1e-10:
            break
    square = float(_surplus(cells, chance, axis=1)[1].sum()) + added * ((1 - even) ** 2 + even**2)
    return SCALE * shift, SCALE * math.sqrt(square) / information


def _bridges(linked: np.ndarray) -> list[tuple[int, int]]:
    """Return the links on no circle, by Tarjan's depth-first numbering with an explicit stack."""
    size, clock = len(linked), 0
    order, low = [-1] * size, [0] * size
    bridges = []
    for root in range(size):
        if order[root] >= 0:
            continue
        order[root] = low[root] = clock
        clock += 1
        path = [(root, -1, iter(np.flatnonzero(linked[root]).tolist()))]
        while path:
            model, parent, neighbours = path[-1]
            neighbour = next(neighbours, None)
            if neighbour is None:
                path.pop()
                if path:
                    low[parent] = min(low[parent], low[model])
                    if low[model] > order[parent]:
                        bridges.append((min(parent, model), max(parent, model)))
            elif order[neighbour] < 0:
                order[neighbour] = low[neighbour] = clock
                clock += 1
                path.append((neighbour, model, iter(np.flatnonzero(linked[neighbour]).tolist())))
            elif neighbour != parent:
                low[model] = min(low[model], order[neighbour])
    return sorted(bridges)


def _fewest_votes_across(played: np.ndarray) -> tuple[int, np.ndarray]:
    """Return the minimum cut of a connected board and its smaller side (Stoer & Wagner, 1997)."""
    weight, size = played.astype(float), len(played)
    sides, alive = [[k] for k in range(size)], np.ones(size, dtype=bool)
    best, cut = np.inf, [0]
    for _ in range(size - 1):
        second_last, last, value = _last_two(weight, alive)
        if value < best:
            best, cut = value, list(sides[last])
        weight[second_last] += weight[last]
        weight[:, second_last] += weight[:, last]
        weight[second_last, second_last] = 0
        sides[second_last] += sides[last]
        alive[last] = False
    side = np.zeros(size, dtype=bool)
    side[cut] = True
    return int(best), side if 2 * side.sum() <= size else ~side


def _last_two(weight: np.ndarray, alive: np.ndarray) -> tuple[int, int, float]:
    """Return the last two models when they are added one by one, the most tightly joined first, and how tightly the
    last is."""
    second_last = last = int(alive.argmax())
    reach = np.where(alive, weight[last], -np.inf)
    reach[last] = -np.inf
    value = 0.0
    for _ in range(int(alive.sum()) - 1):
        second_last, last = last, int(reach.argmax())
        value = float(reach[last])
        reach += weight[last]  # −inf stays so
        reach[last] = -np.inf
    return second_last, last, value
