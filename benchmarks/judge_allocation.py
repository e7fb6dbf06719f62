"""Would it pay to give people the items on which a judge model errs most, in place of items drawn evenly?

    python benchmarks/judge_allocation.py [--arenas 1000] [--votes 480] [--pandalm FILE] [--json FILE]

In a rating by votes and verdicts (evaluation/ratings/prediction_powered.py) a stratum's share of the variance is
W² σ²/n, with W its share of the items, n its votes and σ the deviation of what votes say beyond the verdicts. For a
number of votes the least variance has n ∝ Wσ (Neyman, 1934): (Σ Wσ)² in place of Σ Wσ², which is never more, and much
less only where σ differs much. Strata are category × whether the judge names a winner in both orders.

Four designs, each with the same number of votes for each pair of models, once on each item at most:

- even: items drawn evenly (as the arena draws them), and one stratum;
- stratified: votes in proportion to the strata, and an estimate by strata;
- learnt: a third of the votes so, then the rest by σ as it was estimated from these over all pairs; no stratum gets
  less than FLOOR of its proportion, so that every item has a chance that is known and is weighed by it;
- known: the same with the true σ, which nobody knows: the most that can be gained.

Printed: how often 95 % intervals of differences of ratings hold the truth; their width, and the root mean squared
error, over those of `even`; the votes that this saves of a hundred (1 − width²).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.calibrate_judges import (
    ANNOTATORS,
    JUDGES,
    LENGTH,
    PANDALM_POINTS,
    PROMPT_SPREAD,
    TASTE,
    TIES,
    Judge,
    Row,
    table,
)
from benchmarks.simulated_arenas import draw_labels
from evaluation.ratings.bradley_terry import curvature, sigmoid, solve
from evaluation.ratings.voter_clusters import SCORE

MODELS, CATEGORIES, ITEMS = 5, 4, 150  # items of each pair and category, all of them judged
PILOT, FLOOR, PRIOR = 1 / 3, 0.3, 4.0  # PRIOR: votes' worth of all strata's mean variance in each one's
DESIGNS = ("even", "stratified", "learnt", "known")


@dataclass(frozen=True)
class Scene:
    """By category: how keen the judge is (of its own keenness), and how much prompts differ."""

    name: str
    judge: Judge
    keen: tuple[float, ...] = (1.0,) * CATEGORIES
    spread: tuple[float, ...] = (PROMPT_SPREAD,) * CATEGORIES


GOOD = JUDGES[0]
SCENES = (
    *(Scene(judge.name, judge) for judge in JUDGES),
    Scene("good in half of the categories, random in the others", GOOD, keen=(1, 1, 0, 0)),
    Scene("good; plain in half of the categories, taste in the others", GOOD, spread=(4, 4, 0.3, 0.3)),
    Scene("good where it is plain, random where it is taste", GOOD, keen=(1, 1, 0, 0), spread=(4, 4, 0.3, 0.3)),
)


@dataclass(frozen=True)
class Items:
    """Of each pair (P,): items (P, N) with what a vote on each would say, the verdict, and the stratum."""

    ends: np.ndarray
    points: np.ndarray
    said: np.ndarray
    stratum: np.ndarray
    truth: np.ndarray  # (M,) log-odds


def drawn(scene: Scene, random: np.random.Generator) -> Items:
    strengths = random.normal(0, 0.5, MODELS)
    category = np.repeat(np.arange(CATEGORIES), ITEMS)
    ends = np.array([(a, b) for a in range(MODELS) for b in range(a + 1, MODELS)])
    shape = (len(ends), len(category))
    keen, spread = np.array(scene.keen)[category], np.array(scene.spread)[category]
    leans = scene.judge.leans * random.standard_normal(MODELS)
    lengths = LENGTH * random.standard_normal(MODELS)
    quality = [strengths[end][:, None] + spread * random.standard_normal(shape) for end in ends.T]
    long = [lengths[end][:, None] + LENGTH * random.standard_normal(shape) for end in ends.T]
    taste = TASTE * np.sqrt(2) * random.standard_normal(shape)
    chance = sigmoid(quality[0] - quality[1] + taste)
    points = SCORE[draw_labels(chance.ravel(), TIES, random)].reshape(shape)
    own = scene.judge.own * ((ends[:, 0] == 0).astype(float) - (ends[:, 1] == 0))[:, None]
    gap = scene.judge.keen * keen * (quality[0] - quality[1]) + scene.judge.length * (long[0] - long[1]) + own
    gap += (leans[ends[:, 0]] - leans[ends[:, 1]])[:, None]
    said = sum((random.random(shape) < sigmoid(gap + first)).astype(float) / 2 for first in (0.2, -0.2))
    return Items(ends, points, said, 2 * category + (said == 0.5), _truth(strengths, scene))


def _truth(strengths: np.ndarray, scene: Scene) -> np.ndarray:
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    gaps = (strengths[:, None] - strengths[None, :])[:, :, None]
    spreads = [np.sqrt(2 * (spread**2 + TASTE**2)) for spread in scene.spread]
    means = [(sigmoid(gaps + spread * nodes) * weights).sum(axis=2) / weights.sum() for spread in spreads]
    mean = np.mean(means, axis=0)
    np.fill_diagonal(mean, 0)
    return solve(mean, np.zeros(len(strengths)))


def choose(items: Items, design: str, each: int, random: np.random.Generator) -> np.ndarray:
    """(P, N) which items people vote on, `each` of every pair."""
    order = random.random(items.points.shape)
    if design == "even":
        return order.argsort(axis=1).argsort(axis=1) < each
    size = _counts(items)
    if design == "stratified":
        return _first(items, order, _whole(size * each / size.sum(axis=1, keepdims=True), each))
    if design == "known":
        sigma = _deviations(items, np.ones(items.points.shape, dtype=bool))
        return _first(items, order, _shares(size, sigma, each, np.zeros(size.shape)))
    pilot = _whole(size * each * PILOT / size.sum(axis=1, keepdims=True), round(each * PILOT))
    sigma = _deviations(items, _first(items, order, pilot))
    return _first(items, order, _shares(size, sigma, each, pilot))


def _counts(items: Items) -> np.ndarray:
    """(P, S) items of each pair and stratum."""
    return np.stack([(items.stratum == s).sum(axis=1) for s in range(2 * CATEGORIES)], axis=1)


def _deviations(items: Items, voted: np.ndarray) -> np.ndarray:
    """(S,) the deviation of votes beyond verdicts in each stratum of all pairs, drawn towards that of all strata."""
    weight = _weight(items, voted, np.ones(items.points.shape))
    rest = items.points - weight * items.said
    squares, freedom = np.zeros(2 * CATEGORIES), np.zeros(2 * CATEGORIES)
    for s in range(2 * CATEGORIES):
        inside = voted & (items.stratum == s)
        n = inside.sum(axis=1)
        mean = (rest * inside).sum(axis=1) / np.maximum(n, 1)
        squares[s] = ((rest - mean[:, None]) ** 2 * inside).sum()
        freedom[s] = np.maximum(n - 1, 0).sum()
    common = squares.sum() / max(freedom.sum(), 1)
    return np.sqrt((squares + PRIOR * common) / (freedom + PRIOR))


def _shares(size: np.ndarray, sigma: np.ndarray, each: int, least: np.ndarray) -> np.ndarray:
    """(P, S) votes by size times deviation, at least FLOOR of the proportion and what was voted on already."""
    proportion = size * each / size.sum(axis=1, keepdims=True)
    floor = np.maximum(FLOOR * proportion, least)
    wanted = size * sigma / (size * sigma).sum(axis=1, keepdims=True) * each
    for _ in range(20):  # what lifting to the floor takes, the others give
        free = wanted > floor
        room = each - (floor * ~free).sum(axis=1, keepdims=True)
        weights = size * sigma * free
        wanted = np.where(free, weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9) * room, floor)
    return _whole(np.minimum(wanted, size), each)


def _whole(counts: np.ndarray, each: int) -> np.ndarray:
    """(P, S) whole numbers that sum to `each`, by the largest remainders."""
    whole = np.floor(counts + 1e-9)
    rank = (-(counts - whole)).argsort(axis=1).argsort(axis=1)
    return (whole + (rank < (each - whole.sum(axis=1, keepdims=True)))).astype(int)


def _first(items: Items, order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    chosen = np.zeros(order.shape, dtype=bool)
    for s in range(counts.shape[1]):
        inside = items.stratum == s
        rank = np.where(inside, order, 2.0).argsort(axis=1).argsort(axis=1)
        chosen |= inside & (rank < counts[:, s : s + 1])
    return chosen


def _weight(items: Items, voted: np.ndarray, worth: np.ndarray) -> float:
    """λ: the regression of votes on verdicts within pairs."""
    w = worth * voted
    mean = [(w * x).sum(axis=1, keepdims=True) / np.maximum(w.sum(axis=1, keepdims=True), 1e-9)
            for x in (items.points, items.said)]  # fmt: skip
    y, v = items.points - mean[0], items.said - mean[1]
    return float(np.clip((w * y * v).sum() / max((w * v * v).sum(), 1e-9), 0, 1))


def estimate(items: Items, voted: np.ndarray, by_strata: bool) -> tuple[np.ndarray, np.ndarray]:
    """(M,) log-odds and (M, M) their covariance, each pair of models counting alike.

    A pair's score is the mean over its items of λ·verdict + the mean rest of the item's stratum; its variance that of
    the influence λv + r̄ + (r − r̄)/π over the items, π the share of the stratum's items that were voted on.
    """
    stratum = items.stratum if by_strata else np.zeros_like(items.stratum)
    stratum = _merged(stratum, voted)
    inside = [stratum == s for s in range(int(stratum.max()) + 1)]
    share, worth = np.ones(items.points.shape), np.zeros(items.points.shape)
    for each in inside:
        n, total = (each & voted).sum(axis=1, keepdims=True), each.sum(axis=1, keepdims=True)
        share = np.where(each, n / np.maximum(total, 1), share)
    worth = 1 / np.maximum(share, 1e-9)
    weight = _weight(items, voted, worth)
    rest, mean, factor = items.points - weight * items.said, np.zeros(items.points.shape), np.ones(items.points.shape)
    for each in inside:
        n = (each & voted).sum(axis=1, keepdims=True)
        mean = np.where(each, (rest * (each & voted)).sum(axis=1, keepdims=True) / np.maximum(n, 1), mean)
        factor = np.where(each, np.sqrt(n / np.maximum(n - 1, 1)), factor)  # a mean was fitted
    influence = weight * items.said + mean + voted * worth * factor * (rest - mean)
    centred = weight * items.said + mean
    score, variance = centred.mean(axis=1), influence.var(axis=1, ddof=1) / influence.shape[1]
    return _ratings(items.ends, score, variance)


def _merged(stratum: np.ndarray, voted: np.ndarray) -> np.ndarray:
    """Put a stratum with fewer than two votes of a pair with the pair's largest."""
    merged = stratum.copy()
    for pair in range(len(stratum)):
        counts = np.bincount(stratum[pair, voted[pair]], minlength=int(stratum.max()) + 1)
        few = counts[stratum[pair]] < 2
        merged[pair, few] = counts.argmax()
    return merged


def _ratings(ends: np.ndarray, score: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = np.zeros((MODELS, MODELS))
    scores[ends[:, 0], ends[:, 1]], scores[ends[:, 1], ends[:, 0]] = score, 1 - score
    log_odds = solve(scores, np.zeros(MODELS))
    chance = sigmoid(log_odds[:, None] - log_odds[None, :])
    inverse = np.linalg.inv(curvature(scores + scores.T, chance) + 1 / MODELS) - 1 / MODELS
    turned = inverse[:, ends[:, 0]] - inverse[:, ends[:, 1]]
    return log_odds, (turned * variance) @ turned.T


def rows(arenas: int, votes: int, seed: int) -> Iterator[Row]:
    for number, scene in enumerate(SCENES):
        found: dict[str, list[tuple[float, float, float]]] = {design: [] for design in DESIGNS}
        for arena in range(arenas):
            random = np.random.default_rng((seed, number, arena))
            items = drawn(scene, random)
            for design in DESIGNS:
                voted = choose(items, design, votes // len(items.ends), random)
                found[design].append(_held(*estimate(items, voted, design != "even"), items.truth))
        yield from ({"judge": scene.name, "design": design, **row} for design, row in _rows_of(found).items())


def _held(log_odds: np.ndarray, covariance: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    i, j = np.triu_indices(MODELS, 1)
    error = (log_odds[i] - log_odds[j]) - (truth[i] - truth[j])
    deviation = np.sqrt(covariance[i, i] + covariance[j, j] - 2 * covariance[i, j])
    return float(np.mean(np.abs(error) <= 1.96 * deviation)), float(deviation.mean()), float(np.mean(error**2))


def _rows_of(found: dict[str, list[tuple[float, float, float]]]) -> dict[str, Row]:
    means = {design: np.mean(each, axis=0) for design, each in found.items()}
    even = means["even"]
    return {
        design: {
            "hold, %": 100 * float(mean[0]),
            "width": float(mean[1] / even[1]),
            "error": float(np.sqrt(mean[2] / even[2])),
            "saved of 100": 100 * float(1 - (mean[1] / even[1]) ** 2),
        }
        for design, mean in means.items()
    }


def pair_bounds(arenas: int, seed: int) -> Iterator[Row]:
    """The most that can be gained by giving *pairs of models* their votes by how the judge errs on them, over giving
    them by people's own deviation, as the arena's draw does: n ∝ σ√c, with c what a pair's variance adds to the sum of
    the ratings'."""
    for number, scene in enumerate(SCENES):
        widths = []
        for arena in range(arenas):
            items = drawn(scene, np.random.default_rng((seed, number, arena)))
            everything = np.ones(items.points.shape, dtype=bool)
            rest = items.points - _weight(items, everything, np.ones(items.points.shape)) * items.said
            pairs = len(items.ends)
            matters = [np.trace(_ratings(items.ends, items.points.mean(axis=1), row)[1]) for row in np.eye(pairs)]
            cost, people, beyond = np.sqrt(matters), items.points.std(axis=1), rest.std(axis=1)
            widths.append((cost @ beyond) / np.sqrt((cost @ people) * (cost @ (beyond**2 / people))))
        width = float(np.mean(widths))
        yield {"judge": scene.name, "width at best": width, "saved of 100": 100 * (1 - width**2)}


def pandalm_rows(path: Path, halvings: int, seed: int) -> Iterator[Row]:
    """PandaLM's test set: one annotator plays the judge model, the two others are the people. Strata are what the judge
    says, and that within pairs of models; their deviations are those of the whole set (the most that can be gained, and
    too much, since thirty strata of thirty rows differ by luck), or learnt from one half and used on the other."""
    table_rows = json.loads(path.read_text(encoding="utf-8"))
    points = np.array([[PANDALM_POINTS[row[name]] for name in ANNOTATORS] for row in table_rows])
    pair = np.unique([row["cmp_key"] for row in table_rows], return_inverse=True)[1]
    for judge, name in enumerate(ANNOTATORS):
        rest = np.delete(points, judge, axis=1) - points[:, judge, None]
        verdict = (points[:, judge] * 2).astype(int)
        for what, stratum in {"what the judge says": verdict, "and pair": pair * 3 + verdict}.items():
            place = np.unique(stratum, return_inverse=True)[1]
            best, learnt = _narrowed(rest, rest, place, place, 0.0), []
            for number in range(halvings):
                half = np.random.default_rng((seed, number)).permutation(len(place)) < len(place) // 2
                learnt.append(_narrowed(rest[half], rest[~half], place[half], place[~half], PRIOR) ** 2)
            saved = {"width at best": best, "width as learnt": float(np.sqrt(np.mean(learnt)))}
            yield {"judge": name, "strata": what, **saved, "saved of 100": 100 * (1 - float(np.mean(learnt)))}


def _narrowed(known: np.ndarray, used: np.ndarray, place: np.ndarray, used_place: np.ndarray, prior: float) -> float:
    """Return the width with votes by the deviations of the known rows, over that with votes in proportion."""
    size = max(place.max(), used_place.max()) + 1
    squares, rows_of = _squares(known, place, size)
    sigma = np.sqrt((squares + prior * squares.sum() / rows_of.sum()) / np.maximum(rows_of + prior, 1e-9))
    true, share = _spread(used, used_place, size), np.bincount(used_place, minlength=size) / len(used_place)
    votes = np.maximum(share * sigma / (share @ sigma), FLOOR * share if prior else 1e-12)
    votes /= votes.sum()
    return float(np.sqrt((share**2 * true**2 / np.maximum(votes, 1e-12)).sum() / (share @ true**2)))


def _squares(rest: np.ndarray, place: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    count = np.bincount(place, minlength=size) * rest.shape[1]
    mean = np.bincount(place, rest.sum(axis=1), size) / np.maximum(count, 1)
    return np.bincount(place, ((rest - mean[place, None]) ** 2).sum(axis=1), size), count


def _spread(rest: np.ndarray, place: np.ndarray, size: int) -> np.ndarray:
    squares, count = _squares(rest, place, size)
    return np.sqrt(squares / np.maximum(count, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arenas", type=int, default=1000)
    parser.add_argument("--votes", type=int, default=480, help="of an arena, on ten pairs of five models")
    parser.add_argument("--pandalm", type=Path, help="pandalm-testset-v1.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all numbers there as well")
    options = parser.parse_args()
    started, told = time.monotonic(), {}
    found: dict[str, Any] = {"simulated arenas": rows(options.arenas, options.votes, options.seed)}
    found["votes by pair of models"] = pair_bounds(max(1, options.arenas // 10), options.seed)
    if options.pandalm:
        found["PandaLM's test set"] = pandalm_rows(options.pandalm, options.arenas, options.seed)
    for title, each in found.items():
        told[title] = list(each)
        print(f"\n{title}\n\n{table(told[title])}", flush=True)
    print(f"\n{time.monotonic() - started:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
