"""Metrics as functions of sums: what each item counted is added up, and the value is a function of the totals.

Accuracy, perplexity, BLEU, F1: every corpus-level metric here has that form. So one interval, one paired comparison and
one resampling serve them all, and none is ever a mean of means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluation.metrics import fluency_figures as fluency
from evaluation.metrics.bleu import bleu, chrf
from evaluation.metrics.classes import f1, macro_f1, matthews

Totals = np.ndarray  # (..., k): sums over items, with any number of leading axes

MEAN, RATIO, LOG_RATIO, BOOTSTRAP = "mean", "ratio", "log ratio", "bootstrap"
ANY = (-float("inf"), float("inf"))
PER_TOKEN = "nats per token"


@dataclass(frozen=True)
class Metric:
    """Define a metric. `value` maps totals (..., k) to values (...); `counts` names the k sums of one item.

    `interval` says where the 95 % interval comes from. MEAN: of scores between 0 and 1, (sum, items). RATIO and
    LOG_RATIO: linearised, on the scale of totals[0] / totals[1] or of its exponential. BOOTSTRAP: items drawn again.

    `limit` is of a metric that is itself a difference to the parent: how a rule that bounds it says so.
    """

    name: str
    value: Callable[[Totals], np.ndarray]
    higher_is_better: bool | None  # None: neither way is better
    counts: tuple[str, ...]  # empty where their number depends on the task: three for each class
    is_share: bool = False  # shown as a percentage
    interval: str = BOOTSTRAP
    scale: float = 1.0  # of a RATIO
    bounds: tuple[float, float] = (0.0, float("inf"))
    limit: str = ""
    unit: str = ""

    @property
    def is_signed(self) -> bool:
        """Return whether it is a difference to the parent, of which a plus sign says the way."""
        return self.value is fluency.gap


def share(totals: Totals) -> np.ndarray:
    """Return the mean of per-item scores: (sum of scores, number of items)."""
    return totals[..., 0] / totals[..., 1]


def exponential(totals: Totals) -> np.ndarray:
    """Return perplexity of sums (of negative log-likelihoods in nats, number of units)."""
    return np.exp(totals[..., 0] / totals[..., 1])


def bits(totals: Totals) -> np.ndarray:
    """Return bits per unit of sums (of negative log-likelihoods in nats, number of units)."""
    return totals[..., 0] / totals[..., 1] / np.log(2)


def _mean(name: str, *counts: str) -> Metric:
    return Metric(name, share, True, counts, is_share=True, interval=MEAN, bounds=(0.0, 1.0))


def _perplexity(name: str, unit: str) -> Metric:
    return Metric(name, exponential, False, ("loss", unit), interval=LOG_RATIO, bounds=(1.0, float("inf")))


def _nats(name: str, sum_of: str) -> Metric:
    return Metric(name, share, None, (sum_of, "tokens"), interval=RATIO, unit=PER_TOKEN)


def _above_parent(name: str, sum_of: str, limit: str, better: bool | None) -> Metric:
    counts = (sum_of, "tokens", f"the parent's {sum_of}", "the parent's tokens")
    return Metric(name, fluency.gap, better, counts, bounds=ANY, limit=limit, unit=PER_TOKEN)


_NGRAMS = tuple(f"{what} {n}-grams" for what in ("matched", "answered") for n in (1, 2, 3, 4))
_CHARACTERS = tuple(
    f"{what} {n}-{unit}"
    for unit, highest in (("characters", 6), ("words", 2))
    for n in range(1, highest + 1)
    for what in ("answered", "referred", "matched")
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _perplexity("perplexity", "tokens"),
        _perplexity("word perplexity", "words"),
        _perplexity("byte perplexity", "bytes"),
        Metric("bits per byte", bits, False, ("loss", "bytes"), interval=RATIO, scale=float(1 / np.log(2))),
        _mean("accuracy", "correct", "items"),
        _mean("accuracy per character", "correct", "items"),  # lm-evaluation-harness's acc_norm
        _mean("accuracy per byte", "correct", "items"),
        _mean("accuracy of the longer answer", "correct", "items"),  # what a reward model has to beat
        Metric("BLEU", bleu, True, ("answer length", "reference length", *_NGRAMS), bounds=(0.0, 100.0)),
        Metric("chrF2", chrf, True, _CHARACTERS[:18], bounds=(0.0, 100.0)),
        Metric("chrF2++", chrf, True, _CHARACTERS, bounds=(0.0, 100.0)),
        *(_mean(name, "score", "items") for name in ("ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum", "METEOR")),
        Metric("macro F1", macro_f1, True, (), is_share=True, bounds=(0.0, 1.0)),
        Metric("MCC", matthews, True, (), bounds=(-1.0, 1.0)),
        _mean("win rate", "score", "items"),
        # Of the judged pairs of one prompt, which hang together: how many the reward model decides as annotators did.
        Metric("pair accuracy", share, True, ("agreed", "pairs"), is_share=True, interval=RATIO, bounds=(0.0, 1.0)),
        _above_parent(
            fluency.SURPRISE_ABOVE,
            "surprise",
            "Surprise under the parent at most {worst} nats a token above the parent’s own",
            False,
        ),
        _nats(fluency.SURPRISE, "surprise"),
        _nats(fluency.PARENTS_SURPRISE, "surprise"),
        _above_parent(
            fluency.ENTROPY_ABOVE,
            "entropy",
            "Entropy within {worst} nats a token of the parent’s own, either way",
            None,
        ),
        _nats(fluency.ENTROPY, "entropy"),
        _nats(fluency.PARENTS_ENTROPY, "entropy"),
        Metric(
            fluency.FOREIGN,
            fluency.excess,
            False,
            ("foreign characters", "characters", "the parent's foreign characters", "the parent's characters"),
            is_share=True,
            bounds=(0.0, 1.0),
            limit="At most {worst} of the characters in scripts that the parent does not use",
        ),
        Metric(fluency.KL, share, None, ("log ratio", "answers"), interval=RATIO, bounds=ANY, unit="nats per answer"),
        Metric(
            fluency.SCORE_ABOVE,
            fluency.gap,
            True,
            ("score", "prompts", "the parent's score", "the parent's prompts"),
            bounds=ANY,
            unit="standard deviations",
        ),
    )
}


def find(name: str) -> Metric:
    """Return the metric of that name. "F1 of spam" is the F1 of one label. Raises ValueError for an unknown one."""
    if name in METRICS:
        return METRICS[name]
    if name.startswith("F1 of "):
        counts = ("true positives", "false positives", "false negatives")
        return Metric(name, f1, True, counts, is_share=True, bounds=(0.0, 1.0))
    raise ValueError(f"there is no metric {name!r}: {', '.join(METRICS)}, or 'F1 of' a label.")
