"""How often a judge that is asked again is called changed: hardly ever where it is not, and often where it is."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.model_judges import SeenVotes, change, gain

PAIRS, PEOPLE, RUNS = 300, 30, 200


def is_called_changed(rng: np.random.Generator, agrees_now: float) -> bool:
    """Draw verdicts then and now on pairs with a vote each; return whether one of the two figures is apart from 0."""
    points = rng.integers(0, 2, PAIRS) * 1.0
    both = []
    torn_by_time = []
    for agrees in (0.8, agrees_now):
        verdict = np.where(rng.random(PAIRS) < agrees, points, 1 - points)
        torn = rng.random(PAIRS) < 0.2
        torn_by_time.append(torn * 1.0)
        people, pairs = rng.integers(0, PEOPLE, PAIRS).tolist(), list(range(PAIRS))
        both.append((np.where(torn, 0.5, verdict), people, pairs))
    (then, people, pairs), (now, _, _) = both
    gained = gain(SeenVotes(points, now, people, pairs, pairs), SeenVotes(points, then, people, pairs, pairs))
    return bool((gained and gained.is_apart) or change(torn_by_time[0] - torn_by_time[1], pairs).is_apart)


@pytest.mark.parametrize(("agrees_now", "lowest", "highest"), [(0.8, 0.0, 0.14), (0.65, 0.85, 1.0)])
def test_a_judge_is_called_changed_where_it_has(agrees_now: float, lowest: float, highest: float):
    rng = np.random.default_rng(11)
    assert lowest <= np.mean([is_called_changed(rng, agrees_now) for _ in range(RUNS)]) <= highest
