"""What a vote between two models would teach, for models by their ids, whether they have a rating yet or not."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import combinations

import numpy as np

from evaluation.ratings import Fit

QUESTION = 4.0  # how much more a pair counts on which a decision waits


def probabilities(
    ids: Sequence[int], fitted: Fit | None, asked: Collection[frozenset[int]]
) -> dict[frozenset[int], float]:
    """In proportion to the standard error of each pair's difference; whoever has no rating counts as least known."""
    pairs = [frozenset(pair) for pair in combinations(ids, 2)]
    if fitted is None:
        return {pair: QUESTION if pair in asked else 1.0 for pair in pairs}
    place = {pk: index for index, pk in enumerate(fitted.models)}
    error = fitted._difference_error()
    largest = float(np.nanmax(error, initial=1.0))
    found = {}
    for pair in pairs:
        a, b = pair
        known = error[place[a], place[b]] if a in place and b in place else np.nan
        found[pair] = (largest if np.isnan(known) else float(known)) * (QUESTION if pair in asked else 1.0)
    return found
