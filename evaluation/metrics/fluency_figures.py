"""Figures of how fluent a model's answers still are beside its parent's: their names, and what they are functions of.

An item is a prompt with the answers of both; sums over its answers are what it counts, so that intervals go by prompts.

    surprise under the parent   nats a token: −log p of the model's answers under its parent
    the parent's own surprise   the same of the parent's own answers to the same prompts
    surprise above the parent   the first less the second: what training has made the answers stranger by
    entropy                     nats a token of the model's own distribution, at the tokens of its answers
    the parent's own entropy    the same of the parent at its own answers
    entropy above the parent    the first less the second: below 0 it repeats itself, above 0 it rambles
    foreign scripts             share of characters in scripts that the parent hardly uses, less the parent's share
    KL from the parent          nats an answer: log p of the model's answers less that under the parent, both at the
                                temperature that they were drawn at; what top_p cut off is in both distributions
    score above the parent      of a reward model, in its standard deviations: the mean over prompts of the model's
                                answers less that of the parent's
"""

from __future__ import annotations

import numpy as np

TASK = "answers to eval prompts"  # what it is measured on, as rules and pages name it

SURPRISE, PARENTS_SURPRISE = "surprise under the parent", "the parent's own surprise"
SURPRISE_ABOVE = "surprise above the parent"
ENTROPY, PARENTS_ENTROPY, ENTROPY_ABOVE = "entropy", "the parent's own entropy", "entropy above the parent"
FOREIGN = "foreign scripts"
KL, SCORE_ABOVE = "KL from the parent", "score above the parent"

# What a promotion rule can bound: each is a difference to the parent that one run measures of both.
BOUNDED = (SURPRISE_ABOVE, ENTROPY_ABOVE, FOREIGN)


def gap(totals: np.ndarray) -> np.ndarray:
    """Return the first ratio less the second: totals (..., 4), two sums each with what it is taken over."""
    return totals[..., 0] / totals[..., 1] - totals[..., 2] / totals[..., 3]


def excess(totals: np.ndarray) -> np.ndarray:
    """Return `gap` where it is positive, else 0: no share is below none."""
    return np.maximum(gap(totals), 0.0)
