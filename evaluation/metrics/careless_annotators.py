"""Annotators whose work an honest annotator would hardly leave behind: who do not read, press one side, or answer
blindly.

Each suspicion is a bet against honesty. Where at most a share m of an honest annotator's annotations are of some kind,
the wealth of a gambler who bets on more of them,

    exp(θ x - n log(1 - m + m e^θ))   after x of n,

gains nothing on average and reaches 1/α with probability at most α, however often one looks (Ville 1939; averaged over
several θ). Known answers, agreement with others, ratings and repeats are different annotations, and who judges blindly
fails at all of them: these wealths are multiplied. With what speaks of other things they are averaged. Of J judges
those are flagged whose e-value is the k-th largest and at least J / (q k), for the largest such k (Wang and Ramdas
2022): of all that are flagged, the honest are a share q at most, on average, whatever hangs together with what.

Honest people differ, and m leaves room for it: where others give a mark, gold or their own answers, an honest annotator
keeps two thirds at least of the crowd's lead over blind answers. One who likes the first answer may take it LEAN more
often than a coin would. An answer that is often right may be given half way from the crowd's share of it to always. A
tenth of the annotations may be hasty. The crowd's own figures are of all others, less a standard error.
`benchmarks/quality.py` counts what becomes of the promise, and whom it finds.

A flag is a reason to look. It excludes nothing by itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.annotator_figures import Shares

PROMISE = 0.1  # of the flagged, the honest are this share at most
LEAN = 0.05
HASTY_SHARE = 0.1
KEPT = 2 / 3  # of the crowd's lead over blind answers that an honest annotator keeps
TILTS = np.array([0.35, 0.7, 1.4, 2.8, 5.6])
BLIND = ("gold", "others", "ratings", "itself")
WEIGHTS = {"blind": 0.4, "side": 0.25, "same": 0.15, "hasty": 0.2}
KINDS = (*BLIND, "side", "same", "hasty")


@dataclass(frozen=True)
class Evidence:
    """Hold the evidence about one annotator: log e-values by suspicion, of their average, and whether it is enough for
    a flag among all."""

    kinds: dict[str, float]
    log_e: float
    is_flagged: bool

    @property
    def reasons(self) -> list[str]:
        """Return what speaks against them with an e-value of ten or more, the strongest first; of a flag one at
        least."""
        ordered = sorted(self.kinds, key=lambda kind: -self.kinds[kind])
        strong = [kind for kind in ordered if self.kinds[kind] >= math.log(10)]
        return strong or (ordered[:1] if self.is_flagged else [])


def weigh(kinds: Mapping[str, np.ndarray], judges: int, promise: float = PROMISE) -> list[Evidence]:
    """Weigh all suspicions of each annotator. `kinds` has log e-values (J,) by suspicion; what is missing is a bet not
    laid, whose stake is kept."""
    if unknown := kinds.keys() - set(KINDS):
        raise ValueError(f"unknown suspicion {sorted(unknown)[0]!r}: use {', '.join(KINDS)}.")
    log_e_by_kind = {kind: kinds.get(kind, np.zeros(judges)) for kind in KINDS}
    log_e_by_kind["blind"] = sum((log_e_by_kind[kind] for kind in BLIND), np.zeros(judges))
    log_e = np.logaddexp.reduce([math.log(weight) + log_e_by_kind[kind] for kind, weight in WEIGHTS.items()])
    flagged = _flagged(log_e, promise)
    return [
        Evidence({kind: float(log_e_by_kind[kind][j]) for kind in kinds}, float(log_e[j]), bool(flagged[j]))
        for j in range(judges)
    ]


def _flagged(log_e: np.ndarray, promise: float) -> np.ndarray:
    judges = len(log_e)
    rank = np.arange(1, judges + 1)
    enough = np.sort(log_e)[::-1] >= np.log(judges / (promise * rank)) if judges else np.zeros(0, dtype=bool)
    largest = int(rank[enough].max()) if enough.any() else 0
    return log_e >= (np.sort(log_e)[::-1][largest - 1] if largest else math.inf)


def log_e_above(hits: np.ndarray, n: np.ndarray, most: np.ndarray | float) -> np.ndarray:
    """Return (J,) against "at most a share `most` of an honest annotator's are hits"; 0 where `most` is NaN: no bet."""
    bound = np.clip(np.nan_to_num(np.broadcast_to(most, np.shape(hits)), nan=1.0), 1e-9, 1.0)
    tilts = TILTS[:, None]
    wealth = hits * tilts - n * np.log1p(bound * np.expm1(tilts))
    # A bound of 1 would be a bet that only loses: it is not laid.
    return np.where(bound < 1, np.logaddexp.reduce(wealth) - math.log(len(TILTS)), 0.0)


def log_e_below(hits: np.ndarray, n: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    return log_e_above(n - hits, n, 1 - np.asarray(least, dtype=float))


def too_blind(shares: Shares) -> np.ndarray:
    """Return (J,) log e-values against an honest annotator: agreement too near to what blind answers would get
    (`shares.expected`)."""
    return log_e_below(shares.hits, shares.n, honest_share(shares))


def honest_share(shares: Shares) -> np.ndarray:
    """Return (J,) the least share that an honest annotator has: KEPT of all others' lead. NaN where the others hardly
    lead at all."""
    is_known = shares.n > 0
    blind = np.where(is_known, np.nan_to_num(shares.expected) * shares.n, 0.0)
    hits, n, by_chance = (total.sum() - total for total in (np.where(is_known, shares.hits, 0.0), shares.n, blind))
    with np.errstate(divide="ignore", invalid="ignore"):
        share, chance = hits / n, by_chance / n
        lead = (share - np.sqrt(np.maximum(share * (1 - share), 0) / n) - chance) / (1 - chance)
        return np.where((n > 0) & (lead > 0.05), shares.expected + KEPT * lead * (1 - shares.expected), np.nan)


def one_side(first: Shares) -> np.ndarray:
    """Return (J,) log e-values against choosing one side: either side, so half the stake on each."""
    sides = (first.hits, first.n - first.hits)
    return np.logaddexp.reduce([log_e_above(hits, first.n, 0.5 + LEAN) for hits in sides]) - math.log(2)


def always_the_same(most: Shares, size: int) -> np.ndarray:
    """Return (J,) log e-values against always giving one answer: half way from the others' share of that answer to
    always. Which answer was not known before: a stake on each."""
    return log_e_above(most.hits, most.n, (1 + most.expected) / 2) - math.log(size)


def too_hasty(fast: Shares) -> np.ndarray:
    return log_e_above(fast.hits, fast.n, HASTY_SHARE)


def out_of_step(correlation: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return (J,) log e-values against stars that follow the others' by less than KEPT of what the crowd's do: Fisher's
    z, nearly normal."""
    usable = np.isfinite(correlation) & (n > 10)
    z = np.arctanh(np.clip(np.where(usable, correlation, 0.0), -0.999, 0.999))
    weight = np.where(usable, n - 3.0, 0.0)
    rest = weight.sum() - weight
    crowd = np.divide((weight * z).sum() - weight * z, rest, out=np.zeros(len(z)), where=rest > 0)
    least = KEPT * (crowd - 1 / np.sqrt(np.maximum(rest, 1)))
    tilts = np.array([1.0, 2.0, 3.0, 4.0])[:, None]
    wealth = (least - z) * np.sqrt(weight) * tilts - tilts**2 / 2
    return np.where(usable & (least > 0.05), np.logaddexp.reduce(wealth) - math.log(len(tilts)), 0.0)
