"""Ratings of a few models from the votes between them, with intervals by voters. Pure: numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.ratings import Fit, Tally, fit, tally_indices
from evaluation.ratings.bradley_terry import NotConverged
from evaluation.ratings.voter_clusters import by_voters
from evaluation.rounds.stop_rules import Gain

Votes = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # voter (ascending), a, b, label; each (n,)


def fitted(models: Sequence[Any], votes: Votes) -> Fit | None:
    """Return the fit; a and b are places in `models`. None where it did not converge."""
    voter, a, b, label = votes
    tally = Tally(tuple(models), tally_indices(a, b, label, len(models)))
    try:
        return by_voters(fit(tally), [(voter, a, b, label, np.ones(len(voter), dtype=np.int64))])[0]
    except NotConverged:
        return None


def gain_from(votes: Votes) -> Gain | None:
    """Return the gain of model 1 over model 0 by all these votes between the two."""
    found = fitted((0, 1), votes)
    difference = found.difference(1, 0) if found is not None else None
    if difference is None:
        return None
    lower, upper = (end if math.isfinite(end) else None for end in (difference.lower, difference.upper))
    return Gain(len(votes[0]), difference.value, lower, upper)
