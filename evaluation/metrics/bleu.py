"""BLEU and chrF as functions of summed counts, equal to sacrebleu's corpus scores to the last digit."""

from __future__ import annotations

import numpy as np


def bleu(totals: np.ndarray) -> np.ndarray:
    """Return corpus BLEU up to four words (Papineni 2002), 0 to 100, with sacrebleu's exponential smoothing.

    totals (..., 10): length of the answers, of the references nearest to them, matches of 1 to 4 words, n-grams of 1
    to 4 words in the answers. Where no n-gram of some length was answered, it is 0, as in sacrebleu.
    """
    answer_counts, reference_counts = totals[..., 0], totals[..., 1]
    matched, possible = totals[..., 2:6], totals[..., 6:10]
    # mteval's smoothing: the first order without a match counts as half a match, the second as a quarter.
    smoothed = np.where(matched > 0, matched, 0.5 ** np.cumsum(matched == 0, axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_log = np.log(100 * smoothed / possible).mean(-1)
        brevity = np.where(answer_counts < reference_counts, np.exp(1 - reference_counts / answer_counts), 1.0)
        score = brevity * np.exp(mean_log)
    return np.where((matched.sum(-1) > 0) & (possible > 0).all(-1), score, 0.0)


def chrf(totals: np.ndarray, beta: float = 2.0) -> np.ndarray:
    """Return chrF of summed counts (Popović 2015), 0 to 100; with word n-grams among them, chrF++ (2017).

    totals (..., 3 orders): for each order the n-grams in the answers, in the references, and in both. Orders that
    answers or references are too short for are left out of the mean, as in sacrebleu.
    """
    answer_counts, reference_counts, matched = (totals[..., i::3] for i in range(3))
    usable = (answer_counts > 0) & (reference_counts > 0)
    orders = np.maximum(usable.sum(-1), 1)
    precision = (np.divide(matched, answer_counts, out=np.zeros_like(matched), where=usable)).sum(-1) / orders
    recall = (np.divide(matched, reference_counts, out=np.zeros_like(matched), where=usable)).sum(-1) / orders
    below = beta**2 * precision + recall
    score = (1 + beta**2) * precision * recall
    return 100 * np.divide(score, below, out=np.zeros_like(score), where=below > 0)
